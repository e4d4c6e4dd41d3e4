//! A load that notes what it does: transactions over several tables, with savepoints, several rows
//! at once, deletes, changed keys, large values left alone, and now and then a TRUNCATE; each
//! writes its id and how many changes it made into `txlog`.

use super::load::Load;
use super::primary::Primary;

/// The tables of [`tables`], `txlog` included.
pub(crate) const NAMES: &[&str] = &["items", "notes", "pages", "scratch", "events", "txlog"];

/// Makes the tables and `work(client)`, in database `postgres`; nothing is published yet.
pub(crate) fn tables(primary: &Primary) {
    primary.sql(
        "create table items(client int, id int, n bigint not null, note text,
            primary key (client, id));
         create table notes(id bigint generated always as identity primary key,
            client int, note text);
         create table pages(client int, id int, n int not null, body text,
            primary key (client, id));
         alter table pages alter column body set storage external;
         create table scratch(id int primary key, note text);
         create table events(client int, what text, at timestamptz);
         create table txlog(xid bigint primary key, changes int not null);
         create procedure step(client int, kind int, inout total int) language plpgsql as $$
         declare k int; base int := floor(random() * 40);
         begin
           case kind
           when 0 then insert into items as i
               select client, g, 1, md5(random()::text) from generate_series(base, base + 7) g
               on conflict on constraint items_pkey do update set n = i.n + 1;
           when 1 then insert into notes(client, note)
               select client, repeat(chr(65 + g), g * 10) from generate_series(1, 5) g;
           when 2 then delete from items i
               where i.client = step.client and id between base and base + 3;
           when 3 then update items i set id = -id - 1 where i.client = step.client and id = base
               and not exists (select from items o where o.client = i.client and o.id = -i.id - 1);
           when 4 then insert into pages as p
               values (client, base % 5, 1, repeat(md5(random()::text), 300))
               on conflict on constraint pages_pkey do update set n = p.n + 1;
           when 5 then delete from notes w where w.id in
               (select id from notes v where v.client = step.client limit 3);
           else insert into events values (client, 'seen', now()), (client, 'seen', now());
           end case;
           get diagnostics k = row_count;
           total := total + k;
         end $$;
         create procedure work(client int) language plpgsql as $$
         declare total int := 0; mine int;
         begin
           if client = 0 and random() < 0.1 then
             truncate scratch;
             total := total + 1;
             insert into scratch select g, 'x' from generate_series(1, 3) g;
             total := total + 3;
           end if;
           for round in 1 .. 1 + floor(random() * 4) loop
             mine := total;
             begin
               call step(client, floor(random() * 7)::int, mine);
               if random() < 0.3 then raise exception 'changed its mind'; end if;
               total := mine;
             exception when raise_exception then null;
             end;
           end loop;
           insert into txlog values (txid_current(), total + 1);
         end $$",
    );
}

/// Endless load on [`tables`] by `clients`, at most `rate` transactions per second in all.
pub(crate) fn start(primary: &Primary, clients: u32, rate: u32) -> Load<'_> {
    let script = "call work(:client_id);";
    Load::on(primary).clients(clients).rate(rate).seconds(3600).script(script).start()
}

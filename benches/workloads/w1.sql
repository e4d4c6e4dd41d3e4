-- W1 and W3: one table of eight common types, filled in transactions of a chosen size.
create table w1(
  id bigint primary key, n int not null, txt text not null, amt numeric(12, 2) not null,
  ts timestamptz not null, ok boolean not null, doc jsonb not null, uid uuid not null);

create procedure gen_ins(total int, per int) language plpgsql as $$
declare i int := 0;
begin
  while i < total loop
    insert into w1
      select g, ((g::bigint * 7919) % 2000000000)::int,
        md5(g::text) || substr(md5((g + 1)::text), 1, 8),
        ((g::bigint * 3779) % 1000000000) / 100.0,
        timestamptz '2026-01-01 00:00:00+00' + g * interval '1.234567 s',
        g % 3 = 0,
        jsonb_build_object('user', 'u' || g, 'score', g % 1000,
          'tags', jsonb_build_array('alpha', 'beta'), 'active', g % 2 = 0,
          'ip', '10.0.' || (g / 250) % 250 || '.' || g % 250),
        md5('x' || g)::uuid
      from generate_series(i + 1, least(i + per, total)) g;
    commit;
    i := i + per;
  end loop;
end $$;

create procedure gen_upd(total int, per int) language plpgsql as $$
declare i int := 0;
begin
  while i < total loop
    update w1 set n = n + 1, txt = reverse(txt), amt = amt + 0.01, ts = ts + interval '1 hour',
        ok = not ok
      where id between i + 1 and i + per;
    commit;
    i := i + per;
  end loop;
end $$;

create procedure gen_del(total int, per int, base int) language plpgsql as $$
declare i int := 0;
begin
  while i < total loop
    delete from w1 where id between base + i + 1 and base + i + per;
    commit;
    i := i + per;
  end loop;
end $$;

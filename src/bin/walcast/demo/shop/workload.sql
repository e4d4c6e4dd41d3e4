-- What happens in the shop, one transaction a call. Rows that somebody else works on are left to them.
create function shop_sign_up(how_many integer) returns void language sql as $$
  insert into customers (name, email, about)
  select 'Customer ' || substr(md5(random()::text), 1, 6), md5(random()::text) || '@example.org',
    case when random() < 0.3 then (select string_agg(md5(random()::text), '') from generate_series(1, 100)) end
  from generate_series(1, how_many)
$$;

-- A new order: rows in four tables.
create function shop_order() returns void language plpgsql as $$
declare
  buyer bigint := (select id from customers order by random() limit 1 for update skip locked);
  ordered bigint;
begin
  if buyer is null then return; end if;
  insert into orders (customer_id) values (buyer) returning id into ordered;
  insert into order_items
    select ordered, line, (array['tea', 'mug', 'kettle', 'biscuits'])[1 + floor(random() * 4)::int],
      1 + floor(random() * 5)::int, round((1 + random() * 50)::numeric, 2)
    from generate_series(1, 1 + floor(random() * 4)::int) line;
  update orders set total = (select sum(quantity * price) from order_items where order_id = ordered)
    where id = ordered;
  insert into payments (order_id, amount, details)
    select ordered, total, jsonb_build_object('method', 'card', 'tries', 1) from orders where id = ordered;
  update customers set points = points + 1 where id = buyer;
end
$$;

create function shop_pay() returns void language plpgsql as $$
declare
  chosen bigint := (select id from orders where status = 'new' order by id limit 1 for update skip locked);
begin
  update payments set paid_at = clock_timestamp(), details = details || '{"ok": true}' where order_id = chosen;
  update orders set status = 'paid' where id = chosen;
end
$$;

create function shop_cancel() returns void language plpgsql as $$
declare
  chosen bigint := (select id from orders where status = 'new' order by id desc limit 1 for update skip locked);
begin
  delete from payments where order_id = chosen;
  delete from order_items where order_id = chosen;
  delete from orders where id = chosen;
end
$$;

-- An order that fails at the till: part of it is rolled back to a savepoint, or all of it.
create function shop_change_of_mind() returns void language plpgsql as $$
begin
  begin
    perform shop_order();
    raise exception 'not this one';
  exception when raise_exception then
    null;
  end;
  if random() < 0.5 then
    perform shop_order();
    raise exception 'a change of mind' using errcode = 'P0001';
  end if;
  perform shop_pay();
end
$$;

create function shop_step() returns void language plpgsql as $$
declare
  dice double precision := random();
begin
  case
    when dice < 0.45 then perform shop_order();
    when dice < 0.75 then perform shop_pay();
    when dice < 0.83 then perform shop_cancel();
    when dice < 0.90 then perform shop_change_of_mind();
    else perform shop_sign_up(1);
  end case;
end
$$;

-- Volume: many customers at once.
create function shop_import() returns void language plpgsql as $$
declare
  part integer := floor(random() * 10);
begin
  perform shop_sign_up(200);
  update customers set points = points + 10
    where id in (select id from customers where id % 10 = part order by id limit 300 for update skip locked);
end
$$;

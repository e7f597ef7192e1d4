"use strict";

const PERIOD = 2000; // milliseconds between two looks
let before = null;

function count(n) {
  return Math.round(n).toLocaleString("en");
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i ? n.toFixed(1) : n} ${units[i]}`;
}

function seconds(n) {
  return n < 120 ? `${n.toFixed(1)} s` : `${count(n / 60)} min`;
}

function rate(now, past, key) {
  const elapsed = now.time - (before ? before.time : now.time);
  return past && elapsed > 0 ? count(Math.max(0, (now.counts[key] - past.counts[key]) / elapsed)) : "";
}

function row(status, bucket) {
  const past = before && before.buckets.find((b) => b.path === bucket.path);
  const now = { time: status.time, counts: bucket.counts };
  const cells = [
    bucket.path,
    count(bucket.rows),
    rate(now, past, "put_count"),
    rate(now, past, "records_read"),
    `${count(bucket.buffer_rows)} (${bytes(bucket.buffer_bytes)})`,
    seconds(bucket.counts.lag_seconds),
    bytes(bucket.wal_bytes),
    bytes(bucket.table_bytes),
    count(bucket.fragments),
    bytes(bucket.memory_bytes),
    count(bucket.counts.flush_count),
    count(bucket.counts.error_count),
  ];
  return line(cells, bucket.poisoned ? "refuses writes" : "ok", bucket.poisoned);
}

function line(cells, state, bad) {
  const tr = document.createElement("tr");
  for (const text of cells) {
    tr.insertCell().textContent = text;
  }
  const last = tr.insertCell();
  last.textContent = state;
  last.className = bad ? "bad" : "ok";
  return tr;
}

const LOADS = ["hits", "missed_absent", "missed_length", "missed_damaged", "missed_failed", "missed_late"];

function hits(store, past) {
  const counted = (name) => store[name] - (past ? past[name] : 0);
  const loads = LOADS.reduce((sum, name) => sum + counted(name), 0);
  return loads > 0 ? `${Math.round((100 * counted("hits")) / loads)} %` : "";
}

function storeRow(status, store) {
  const past = before && before.stores.find((s) => s.path === store.path);
  const each = (key) => rate({ time: status.time, counts: store }, past && { counts: past }, key);
  const cells = [
    store.path,
    count(store.keys),
    bytes(store.bytes),
    bytes(store.capacity_bytes),
    bytes(store.pinned_bytes),
    hits(store, past),
    each("hits"),
    each("sets"),
    each("evicted"),
    count(store.queued_loads + store.queued_stores),
    store.written_bytes ? (1 + store.moved_bytes / store.written_bytes).toFixed(2) : "",
  ];
  const faults = store.missed_damaged + store.missed_failed + store.write_errors;
  return line(cells, count(faults), faults > 0);
}

function draw(status) {
  document.getElementById("process").textContent =
    `version ${status.version}, process ${status.pid}, serving for ${seconds(status.uptime_seconds)}`;
  document.getElementById("buckets").replaceChildren(...status.buckets.map((b) => row(status, b)));
  document.getElementById("none").hidden = status.buckets.length + status.stores.length > 0;
  document.getElementById("stores").replaceChildren(...status.stores.map((s) => storeRow(status, s)));
  document.getElementById("stores-table").hidden = status.stores.length === 0;
  document.body.classList.remove("lost");
  before = status;
}

async function look() {
  try {
    const answer = await fetch("status.json");
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
    draw(await answer.json());
  } catch (error) {
    document.getElementById("process").textContent = `no answer: ${error.message}`;
    document.body.classList.add("lost");
  }
  setTimeout(look, PERIOD);
}

look();

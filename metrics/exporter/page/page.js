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
  return `${i ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
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

const NOT_STORED = ["not_stored_failed", "not_stored_refused", "not_stored_full", "not_stored_shed"];

// growth returns what tells how much a count of a store, or the sum of several, has grown in a second since the look before.
function growth(status, past) {
  const elapsed = before ? status.time - before.time : 0;
  return (store, show, ...keys) => {
    const sum = (counts) => keys.reduce((total, key) => total + counts[key], 0);
    return past && elapsed > 0 ? show(Math.max(0, (sum(store) - sum(past)) / elapsed)) : "";
  };
}

function earlier(kind, path) {
  return before && before[kind].find((s) => s.path === path);
}

function hits(store, past) {
  const counted = (name) => store[name] - (past ? past[name] : 0);
  const loads = LOADS.reduce((sum, name) => sum + counted(name), 0);
  return loads > 0 ? `${Math.round((100 * counted("hits")) / loads)} %` : "";
}

function storeRow(status, store) {
  const past = earlier("stores", store.path);
  const grown = growth(status, past);
  const cells = [
    store.path,
    count(store.keys),
    bytes(store.bytes),
    bytes(store.capacity_bytes),
    bytes(store.pinned_bytes),
    hits(store, past),
    grown(store, count, "hits"),
    grown(store, count, "sets"),
    grown(store, count, "evicted"),
    grown(store, count, ...NOT_STORED),
    count(store.queued_loads + store.queued_stores),
    store.written_bytes ? (1 + store.moved_bytes / store.written_bytes).toFixed(2) : "",
  ];
  const faults = store.missed_damaged + store.missed_failed + store.write_errors;
  return line(cells, count(faults), faults > 0);
}

const SAVED = ["shared_bytes", "changed_bytes", "whole_bytes"];

function parametersRow(status, store) {
  const grown = growth(status, earlier("parameters", store.path));
  const cells = [
    store.path,
    count(store.names),
    count(store.versions),
    store.newest_time ? seconds(Math.max(0, status.time - store.newest_time)) : "",
    bytes(store.tensor_bytes),
    bytes(store.disk_bytes),
    grown(store, bytes, ...SAVED),
    share(store.written_bytes, SAVED.reduce((sum, key) => sum + store[key], 0)),
    grown(store, bytes, "loaded_bytes"),
    grown(store, bytes, "pulled_bytes"),
    count(store.open_versions),
  ];
  return line(cells, count(store.faults), store.faults > 0);
}

function trajectoriesRow(status, store) {
  const past = earlier("trajectories", store.path);
  const grown = growth(status, past);
  const samples = store.samples - (past ? past.samples : 0);
  const took = store.sample_seconds - (past ? past.sample_seconds : 0);
  const cells = [
    store.path,
    count(store.open + store.ended),
    count(store.open),
    count(store.open_steps + store.ended_steps),
    count(store.sheet_rows),
    grown(store, count, "appended"),
    grown(store, count, "drawn"),
    samples > 0 ? `${((1000 * took) / samples).toFixed(2)} ms` : "",
    share(store.rows_hot, store.rows_hot + store.rows_cold),
    count(store.behind),
    count(store.leased),
    grown(store, count, "acks"),
    grown(store, count, "prioritized"),
  ];
  return line(cells, count(store.faults), store.faults > 0);
}

function share(part, whole) {
  return whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : "";
}

// fill shows the stores of a kind, or hides their table where there are none.
function fill(kind, status, draw) {
  document.getElementById(kind).replaceChildren(...status[kind].map((s) => draw(status, s)));
  document.getElementById(`${kind}-table`).hidden = status[kind].length === 0;
}

function draw(status) {
  document.getElementById("process").textContent =
    `version ${status.version}, process ${status.pid}, serving for ${seconds(status.uptime_seconds)}`;
  document.getElementById("buckets").replaceChildren(...status.buckets.map((b) => row(status, b)));
  const stores = status.stores.length + status.parameters.length + status.trajectories.length;
  document.getElementById("none").hidden = status.buckets.length + stores > 0;
  fill("stores", status, storeRow);
  fill("parameters", status, parametersRow);
  fill("trajectories", status, trajectoriesRow);
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

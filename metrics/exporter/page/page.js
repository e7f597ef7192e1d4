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
  const tr = document.createElement("tr");
  for (const text of cells) {
    tr.insertCell().textContent = text;
  }
  const state = tr.insertCell();
  state.textContent = bucket.poisoned ? "refuses writes" : "ok";
  state.className = bucket.poisoned ? "bad" : "ok";
  return tr;
}

function draw(status) {
  document.getElementById("process").textContent =
    `version ${status.version}, process ${status.pid}, serving for ${seconds(status.uptime_seconds)}`;
  document.getElementById("buckets").replaceChildren(...status.buckets.map((b) => row(status, b)));
  document.getElementById("none").hidden = status.buckets.length > 0;
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

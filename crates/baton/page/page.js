// The status page. Everything that comes from the server is put in as text, never as HTML.
//
// The token stays in this tab (sessionStorage) and goes out in the Authorization field. A cookie would be
// sent by the browser itself, also to whatever else this host serves on other ports; a field never is, so
// that no other page can act through this one. EventSource cannot send a field: the events are read by fetch.

import {words} from "./words.js";
import {chart} from "./charts.js";

const $ = selector => document.querySelector(selector);
const STORED = "baton-token", LANGUAGE = "baton-language";
let token = sessionStorage.getItem(STORED);
let language = localStorage.getItem(LANGUAGE) ?? (navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en");
let say = words[language] ?? words.en;
let me = null, apps = new Map(), status = null, events = [], stop = null;

// ---- elements

function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") element.addEventListener("click", value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  return fill(element, ...children);
}

function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

// `code` between back quotes, as text.
function withCode(text) {
  return text.split("`").map((part, index) => index % 2 ? el("code", {}, part) : part);
}

const number = value => new Intl.NumberFormat(language, {maximumFractionDigits: value < 10 ? 1 : 0}).format(value);
const bytes = value => value > 0 ? `${number(value / 1048576)} MiB` : null;
const time = at => new Intl.DateTimeFormat(language, {dateStyle: "short", timeStyle: "medium"}).format(new Date(at));
const seconds = ms => ms < 1000 ? `${Math.round(ms)} ms` : `${number(ms / 1000)} s`;

// ---- the API

async function call(path, options = {}) {
  const response = await fetch(path, {
    ...options, cache: "no-store", credentials: "omit", redirect: "error",
    headers: {authorization: `Bearer ${token}`, ...(options.body ? {"content-type": "application/json"} : {})},
  });
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try { message = JSON.parse(text).error.message; } catch { /* as it is */ }
  throw Object.assign(new Error(message || response.statusText), {status: response.status});
}

const get = async path => (await call(path)).json();
const post = (path, body) => call(path, {method: "POST", body: JSON.stringify(body ?? null)});
const of = (app, what) => `/v1/apps/${encodeURIComponent(app)}/${what}`;

// Calls `each` with every part of an answer that goes on, between `end`s.
async function read(path, end, each, signal) {
  const response = await call(path, {signal});
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    kept += value;
    const parts = kept.split(end);
    kept = parts.pop();
    parts.filter(Boolean).forEach(each);
  }
}

// ---- logging in and out

async function enter() {
  try {
    me = await get("/v1/me");
  } catch (error) {
    if (error.status !== 401) return later(enter);
    return leave(token ? say.wrong : "");
  }
  sessionStorage.setItem(STORED, token);
  $("#login").hidden = true;
  $("#leave").hidden = false;
  $("#events").hidden = false;
  watch();
}

function leave(why = "") {
  stop?.abort();
  sessionStorage.removeItem(STORED);
  [token, me, status, events] = [null, null, null, []];
  apps.clear();
  $("#apps").replaceChildren();
  $("#events").hidden = true;
  $("#leave").hidden = true;
  link("");
  $("#login").hidden = false;
  $("#login-wrong").textContent = why;
  $("#token").value = "";
  $("#token").focus();
}

function later(what) {
  link("off");
  setTimeout(what, 2000);
}

function link(state) {
  $("#link").className = `link ${state}`;
  $("#link").textContent = state ? say[state] : "";
}

async function watch() {
  stop?.abort();
  const mine = stop = new AbortController();
  events = [];
  // What came while the connection was away is asked for again.
  const newest = Math.max(0, ...[...apps.values()].map(app => app.samples.at(-1)?.at_ms ?? 0));
  try {
    await read(`/v1/live?after_ms=${newest}`, "\n\n", message => {
      const [kind, data] = message.split("\n");
      heard(kind.slice("event: ".length), JSON.parse(data.slice("data: ".length)));
      link("on");
    }, mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error.status === 401) return leave(say.wrong);
  }
  if (stop === mine) later(enter);
}

function heard(kind, value) {
  if (kind === "status") {
    status = value;
    render();
  } else if (kind === "traffic") {
    for (const {app, samples} of value) {
      const known = apps.get(app);
      if (!known) continue;
      known.samples = [...known.samples, ...samples.filter(s => s.at_ms > (known.samples.at(-1)?.at_ms ?? 0))].slice(-160);
      known.drawCharts();
    }
  } else if (kind === "event") {
    events = [...events, value].slice(-100);
    renderEvents();
    const app = apps.get(value.app);
    if (app) app.stale = true;
  }
}

// ---- acting

async function ask(question, act) {
  const dialog = $("#ask");
  dialog.querySelector("h2").textContent = say.sure;
  dialog.querySelector("p").textContent = question;
  const [no, yes] = dialog.querySelectorAll("button");
  [no.textContent, yes.textContent] = [say.no, say.yes];
  dialog.returnValue = "";
  dialog.showModal();
  no.focus();
  await new Promise(closed => dialog.addEventListener("close", closed, {once: true}));
  if (dialog.returnValue !== "yes") return;
  try {
    const response = await act();
    const kind = response.headers.get("content-type") ?? "";
    if (kind.startsWith("application/json")) tell((await response.json()).message ?? say.done);
    // The progress is followed by its number like any other's.
    else { response.body.cancel(); tell(say.done); }
  } catch (error) {
    tell(`${say.failed}: ${error.message}`, true);
  }
}

let telling;
function tell(text, bad = false) {
  const told = $("#told");
  told.textContent = text;
  told.className = bad ? "bad" : "";
  told.hidden = false;
  clearTimeout(telling);
  telling = setTimeout(() => { told.hidden = true; }, bad ? 15000 : 5000);
}

const rollback = (app, to) => ask(say.ask.rollback(app, to), () =>
  post(of(app, "rollback"), {app, to: to ?? null, current: null, wait_lock: null, by: null}));
const simple = (app, what) => ask(say.ask[what](app), () => post(of(app, what)));
const steer = (app, question, how) => ask(question, () => post(of(app, "canary"), how));

function button(text, on, kind = "") {
  return el("button", {type: "button", class: kind, on}, text);
}

// ---- one app

class App {
  constructor(name) {
    this.name = name;
    this.samples = [];
    this.progress = null;
    this.stale = true;
    this.head = el("div", {class: "head"});
    this.warnings = el("ul", {class: "warnings"});
    this.colors = el("div", {class: "colors"});
    this.deploy = el("section", {class: "deploy", hidden: true});
    this.canary = this.makeCanary();
    this.charts = [
      [chart(["requests"], number, 1), "requests"], [chart(["errors"], number, 1), "errors"],
      [chart(["p50_ms", "p99_ms"], number, 1), "latency"], [chart(["streams"], number, 1), "streams"],
    ];
    this.releases = el("details", {class: "releases"});
    this.receipts = el("details", {class: "receipts", open: true});
    this.root = el("article", {class: "card app", "data-app": name}, this.head, this.warnings, this.colors, this.deploy,
      this.canary, el("div", {class: "charts"}, this.charts.map(([drawn]) => drawn.root)), this.releases, this.receipts);
    this.drawCharts();
  }

  makeCanary() {
    const percent = el("input", {class: "percent", type: "number", min: 0, max: 100, value: 50, "data-do": "percent"});
    const set = () => {
      const value = Number(percent.value);
      if (percent.reportValidity()) steer(this.name, say.ask.set(this.name, value), {set: value});
    };
    const hold = () => steer(this.name, say.ask.hold(this.name), "hold");
    const resume = () => steer(this.name, say.ask.go_on(this.name), "resume");
    const abort = () => steer(this.name, say.ask.abort(this.name), "abort");
    const buttons = [button("", set), button("", hold), button("", resume), button("", abort, "danger")];
    const label = el("label", {}, el("span"), " ", percent);
    const figures = el("div", {class: "sides"});
    const note = el("p", {class: "note"});
    const actions = el("div", {class: "actions"}, label, buttons);
    const root = el("section", {class: "deploy canary", hidden: true}, el("h3"), figures, note, actions);
    root.update = (now, may) => {
      root.querySelector("h3").textContent = `${say.canary}: ${number(now.weight)}% · ${now.steps.map(step => `${step}%`).join(" → ")}`;
      label.querySelector("span").textContent = say.weight;
      [say.set, say.hold, say.goOn, say.abort].forEach((text, index) => { buttons[index].textContent = text; });
      figures.replaceChildren(this.side(say.old, now.old), this.side(say.fresh, now.new));
      note.textContent = [say.evidence(number(now.evidence)), now.waits_for].filter(Boolean).join("\n");
      actions.hidden = !may;
    };
    return root;
  }

  side(title, figures) {
    const ms = value => value === null ? "–" : `${number(value)} ms`;
    return el("div", {}, el("b", {}, title), el("div", {class: "figures"},
      el("span", {}, el("b", {}, number(figures.requests)), ` ${say.requests}`), el("span", {}, el("b", {}, number(figures.errors)), ` ${say.errors}`),
      el("span", {}, `50% `, el("b", {}, ms(figures.p50_ms))), el("span", {}, `99% `, el("b", {}, ms(figures.p99_ms)))));
  }

  update(now) {
    const changed = this.shape !== undefined && this.shape !== shapeOf(now);
    this.shape = shapeOf(now);
    this.now = now;
    if (now.deploy && this.progress?.id !== now.deploy.id) this.follow(now.deploy.id);
    this.renderHead();
    this.warnings.hidden = now.warnings.length === 0;
    this.warnings.replaceChildren(...now.warnings.map(text => el("li", {}, text)));
    this.colors.replaceChildren(...["blue", "green"].map(color => this.color(color, now.colors[color])));
    this.renderDeploy();
    if (changed || this.stale) this.load();
  }

  renderHead() {
    const {now, name} = this;
    const may = me && me.scope !== "read";
    const previews = ["blue", "green"].some(color => now.colors[color].role === "preview");
    const key = JSON.stringify([language, may, previews, now.paused, now.maintenance, now.live, now.strategy, now.hosts, Boolean(now.deploy)]);
    // Buttons stay while nothing about them changes, with whoever is about to press one.
    if (this.headKey === key) return;
    this.headKey = key;
    fill(this.head,
      el("h2", {}, name), el("span", {class: "hosts"}, now.hosts.join(", ")), el("span", {class: "chip"}, say.strategy[now.strategy] ?? now.strategy),
      now.paused && el("span", {class: "chip warn"}, say.paused), now.maintenance && el("span", {class: "chip warn"}, say.maintenance),
      may && el("div", {class: "actions"},
        now.deploy && button(say.cancel, () => simple(name, "cancel"), "danger"),
        previews && !now.deploy && button(say.promote, () => simple(name, "promote"), "main"),
        now.live && !now.deploy && button(say.rollback, () => rollback(name)),
        now.live && (now.paused ? button(say.resume, () => simple(name, "resume"), "main") : button(say.pause, () => simple(name, "pause")))));
  }

  color(color, now) {
    const bar = el("span");
    bar.style.width = `${now.weight}%`;
    const parts = [el("header", {}, el("b", {}, say[color]), el("span", {class: `chip ${now.role}`}, say.roles[now.role] ?? now.role),
      now.release && el("span", {class: "release"}, now.release))];
    if (now.role === "empty") parts.push(el("p", {}, say.nothing));
    else {
      if (now.image) parts.push(el("span", {class: "mono soft"}, now.image));
      if (now.role === "live" || now.role === "candidate") {
        parts.push(el("span", {class: "soft"}, say.share(number(now.weight))), el("div", {class: "weight"}, bar));
      }
      parts.push(el("ul", {class: "instances"}, now.instances.map(instance => el("li", {},
        el("span", {class: `name ${instance.healthy ? "ok" : "ill"}`}, instance.service), el("span", {class: "mono"}, instance.address ?? ""),
        el("span", {}, say.inFlight(instance.requests_in_flight)), el("span", {}, say.streams(instance.sse + instance.websockets)),
        instance.sessions > 0 && el("span", {}, say.sessions(instance.sessions)), bytes(instance.memory_bytes) && el("span", {}, bytes(instance.memory_bytes)),
        instance.restarts > 0 && el("span", {class: "wrong"}, say.restarts(instance.restarts))))));
    }
    return el("section", {class: `color ${color} ${now.role}`}, parts);
  }

  // ---- the deploy that runs, from its beginning

  async follow(id) {
    this.progress = {id, plan: null, steps: new Map(), note: "", canary: null, result: null};
    const progress = this.progress;
    try {
      await read(`/v1/deploys/${id}/progress`, "\n", line => {
        if (this.progress !== progress) return;
        this.progressed(JSON.parse(line));
        this.renderDeploy();
      }, stop.signal);
      progress.over = true;
    } catch {
      // Asked for again with the next status that names it.
      if (this.progress === progress && !progress.result) this.progress = null;
    }
    this.renderDeploy();
  }

  progressed(line) {
    const {progress} = this;
    const set = (state, ms) => progress.steps.set(line.step, {state, ms, since: Date.now()});
    switch (line.event) {
      case "waiting": progress.note = `${say.waiting}: ${line.holder}`; break;
      case "planned": progress.plan = line.plan; progress.note = ""; break;
      case "step_started": set("runs"); progress.note = ""; break;
      case "note": progress.note = line.text; break;
      case "canary": progress.canary = line; break;
      case "step_succeeded": set("done", line.ms); progress.note = ""; break;
      case "step_failed": set("failed", line.ms); progress.note = line.error; break;
      case "undo_started": set("runs"); break;
      case "undo_finished": set("undone"); break;
      case "undo_failed": set("failed"); progress.note = line.error; break;
      case "result": case "drained": progress.result = line; progress.note = line.message; this.stale = true; break;
    }
  }

  renderDeploy() {
    const {progress} = this;
    this.deploy.hidden = !progress;
    const runs = progress?.steps.get("canary")?.state === "runs";
    this.canary.hidden = !(runs && progress.canary);
    if (runs && progress.canary) this.canary.update(progress.canary, me && me.scope !== "read");
    if (!progress) return;
    const {plan, result} = progress;
    const chip = result ? el("span", {class: `chip ${result.ok ? "" : "bad"}`}, progress.over || !result.ok ? say.ended : say.running)
      : el("span", {class: "chip warn"}, say.running);
    const what = plan ? `${say.kinds[plan.kind] ?? plan.kind} · ${say.strategy[plan.strategy] ?? plan.strategy} · ${plan.release} → ${say[plan.to]}` : "";
    fill(this.deploy,
      el("div", {class: "head"}, el("b", {}, say.deploy(progress.id)), what && el("span", {class: "soft"}, what), chip),
      el("ol", {class: "steps"}, (plan?.steps ?? []).map(step => {
        const at = progress.steps.get(step);
        return el("li", {class: at?.state ?? "", "data-step": step}, say.steps[step] ?? step,
          at?.ms !== undefined && el("span", {class: "time"}, seconds(at.ms)));
      })),
      progress.note && el("p", {class: "note"}, progress.note));
  }

  drawCharts() {
    for (const [drawn, what] of this.charts) drawn.update(this.samples, {title: say.charts[what], past: say.past, top: say.top});
  }

  // ---- what is looked up now and then

  async load() {
    this.stale = false;
    try {
      const [releases, receipts] = await Promise.all([get(of(this.name, "releases")), get(`${of(this.name, "receipts")}?limit=10`)]);
      [this.listed, this.proofs] = [releases.releases.slice(0, 10), receipts.receipts];
      this.renderLists();
    } catch { this.stale = true; }
  }

  renderLists() {
    const may = me && me.scope !== "read";
    const cells = (row, kinds = []) => row.map((cell, index) => el("td", {class: kinds[index]}, cell ?? ""));
    const table = (head, rows, kinds = []) => el("div", {class: "wide"}, el("table", {},
      el("thead", {}, el("tr", {}, head.map((text, index) => el("th", {class: kinds[index]}, text)))), el("tbody", {}, rows)));
    this.releases.replaceChildren(el("summary", {}, `${say.releases} (${this.listed?.length ?? 0})`), table(
      [say.release, say.where, say.made, say.image, ""],
      (this.listed ?? []).map(release => el("tr", {}, cells([
        el("b", {}, release.release), release.color ? `${say[release.color]} (${say.roles[release.role]})` : "–", time(release.created_at),
        el("span", {class: "mono"}, release.image || "–"),
        may && !["live", "candidate"].includes(release.role) ? button(say.rollbackTo(release.release), () => rollback(this.name, release.release), "small") : "",
      ])))));
    const kinds = ["", "", "number", "number", "number", "number", "number", "", ""];
    this.receipts.replaceChildren(el("summary", {}, `${say.receipts} (${this.proofs?.length ?? 0})`), table(
      [say.release, say.outcome, say.requests, say.failedOnes, say.gap, say.moved, say.took, say.by, say.endedAt],
      (this.proofs ?? []).map(proof => el("tr", {title: proof.reason}, cells([
        el("b", {}, `${proof.previous ?? "–"} → ${proof.release}`), proof.outcome, number(proof.requests), number(proof.failed), seconds(proof.longest_gap_ms),
        `${proof.streams.reduce((sum, [, figures]) => sum + figures.handed_over, 0)} / ${proof.messages.moved}`,
        seconds(proof.duration_ms), proof.by ?? "–", time(proof.ended_at),
      ], kinds))), kinds));
  }
}

// What the lists depend on.
function shapeOf(now) {
  return JSON.stringify([now.live, now.deploy?.id, now.colors.blue.role, now.colors.blue.release, now.colors.green.role, now.colors.green.release]);
}

// ---- all of it

function render() {
  const names = status.apps.map(app => app.name);
  for (const name of [...apps.keys()]) if (!names.includes(name)) apps.delete(name);
  for (const now of status.apps) {
    if (!apps.has(now.name)) {
      apps.set(now.name, new App(now.name));
      // Its past, which came before it was known.
      get("/v1/traffic").then(({traffic}) => heard("traffic", traffic)).catch(() => {});
    }
    apps.get(now.name).update(now);
  }
  const wanted = [...apps.values()].map(app => app.root);
  if (wanted.length === 0) $("#apps").replaceChildren(el("p", {class: "card"}, withCode(say.noApp)));
  else if (wanted.length !== $("#apps").children.length || wanted.some((root, index) => $("#apps").children[index] !== root)) $("#apps").replaceChildren(...wanted);
}

function renderEvents() {
  $("#events h2").textContent = say.events;
  fill($("#events ol"), events.slice().reverse().map(event => el("li", {},
    el("time", {}, time(event.at)), event.app && el("b", {}, event.app), el("p", {}, event.text))));
}

function speak() {
  say = words[language] ?? words.en;
  document.documentElement.lang = language;
  [$("#language").textContent, $("#language").lang] = [say.other, say.otherCode];
  $("#leave").textContent = say.leave;
  $("#login-title").textContent = say.login;
  $("#login-how").replaceChildren(...withCode(say.loginHow));
  $("#login-label").textContent = say.token;
  $("#login-go").textContent = say.enter;
  if ($("#link").textContent) link($("#link").classList.contains("on") ? "on" : "off");
  if (!status) return;
  render();
  renderEvents();
  for (const app of apps.values()) { app.drawCharts(); app.renderLists(); }
}

$("#language").addEventListener("click", () => {
  language = say.otherCode;
  localStorage.setItem(LANGUAGE, language);
  speak();
});
$("#leave").addEventListener("click", () => leave());
$("#login").addEventListener("submit", event => {
  event.preventDefault();
  token = $("#token").value.trim();
  // What cannot stand in a field of HTTP is no token.
  if (/^[\x21-\x7e]+$/.test(token)) enter();
  else leave(say.wrong);
});
speak();
if (token) enter();
else leave();

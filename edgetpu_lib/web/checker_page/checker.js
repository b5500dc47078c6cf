// Hand a dropped file to the worker, and show what the commands printed.
//
// All text of a file, such as names of tensors, is set as text, never as HTML.
import settings from "./settings.js";

const PLACES_SHOWN = 3;
const SLOWEST_SHOWN = 10;
const MIB = 2 ** 20;
const at = (id) => document.getElementById(id);
let worker = null;
// The request that was made last; replies to older ones are ignored.
let newest = { id: 0, name: "" };

// ---- files ---------------------------------------------------------------------

function start() {
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.bytes) showProgress(data.bytes);
    else if (data.id === newest.id) finish(data);
  };
  worker.onerror = () => finish({ failure: "the worker did not load" });
}

function take(files) {
  if (!files.length) return;
  if (!worker) start();
  const model = files.find((file) => !file.name.endsWith(".json")) ?? files[0];
  newest = { id: newest.id + 1, name: model.name };
  at("error").hidden = at("result").hidden = true;
  at("status").textContent = `Checking ${model.name} …`;
  worker.postMessage({ id: newest.id, name: model.name, files });
}

function showProgress(bytes) {
  const bar = at("progress");
  bar.max = settings.load_bytes;
  bar.value = bytes;
  at("loading").hidden = bytes >= settings.load_bytes;
}

function finish({ check, estimates, failure }) {
  at("loading").hidden = true;
  at("status").textContent = "";
  if (failure !== undefined) {
    // Python may be beyond repair, such as after a lack of memory.
    worker.terminate();
    worker = null;
    showError(`error: the file could not be checked here (${failure}); try the command`
      + " check instead");
  } else if (check.code === 2) {
    showError(check.err);
  } else {
    showResult(check, estimates);
  }
}

function showError(line) {
  at("error").textContent = line;
  at("error").hidden = false;
}

async function takeSample() {
  const names = [settings.sample, `${settings.sample}.json`];
  const load = async (name) => new File([await (await fetch(name)).blob()], name);
  take(await Promise.all(names.map(load)));
}

// ---- elements ------------------------------------------------------------------

function element(tag, content = [], attributes = {}) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...[content].flat());
  return made;
}

// Columns whose heads begin with ">" end at the right, such as numbers.
function table(caption, heads, rows) {
  const right = heads.map((head) => (head.startsWith(">") ? { class: "number" } : {}));
  const line = (cells, tag, attributes = {}) =>
    element("tr", cells.map((cell, column) =>
      element(tag, cell, { ...right[column], ...attributes })));
  const titles = heads.map((head) => head.replace(">", ""));
  const made = element("table", [
    element("caption", caption),
    element("thead", line(titles, "th", { scope: "col" })),
    element("tbody", rows.map((cells) => line(cells, "td"))),
  ]);
  // Wide tables scroll on their own, also by the keyboard; the page does not.
  const frame = { class: "wide", tabindex: "0", role: "region", "aria-label": caption };
  return element("div", made, frame);
}

function size(bytes) {
  if (!bytes) return "–";
  if (bytes < 1024) return `${bytes.toFixed(0)} B`;
  if (bytes < MIB) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / MIB).toFixed(2)} MiB`;
}

// ---- results -------------------------------------------------------------------

function showResult(check, estimates) {
  const report = JSON.parse(check.out);
  const found = estimates.filter(({ code }) => code === 0)
    .map(({ out, device }) => ({ device, ...JSON.parse(out) }));
  const failed = estimates.find(({ code }) => code !== 0);
  showVerdict(report, check.err);
  at("findings").replaceChildren(...groups(report.findings).map(findingItem));
  at("findings-title").parentElement.hidden = !report.findings.length;
  showTimes(found, failed);
  const rows = report.operations.map((o) => [o.operator, `${o.count}`, o.status]);
  at("operators").replaceChildren(
    table("Operators by status", ["Operator", ">Count", "Status"], rows));
  showJson(check, estimates);
  at("result").hidden = false;
  at("verdict").focus({ preventScroll: true });
}

function showVerdict(report, remark) {
  at("verdict").textContent = `${newest.name} ${verdictOf(report)}`;
  at("verdict").className = report.ready ? "ready" : "not-ready";
  const facts = {
    "Operators on the Edge TPU": `${report.edge_tpu_operators}`,
    "Operators on the CPU": `${report.cpu_operators}`,
    Feed: report.feed,
    ...(remark && { Remark: remark }),
  };
  at("summary").replaceChildren(...Object.entries(facts).map(
    ([term, text]) => element("div", [element("dt", term), element("dd", text)])));
}

function verdictOf(report) {
  if (report.ready) return "is ready for the Edge TPU.";
  if (!report.only_postprocessing_left) return "is not ready for the Edge TPU.";
  return "runs on the Edge TPU, but for its postprocessing on the CPU: that is as good"
    + " as it gets.";
}

// Findings with the same text are one, with several places.
function groups(findings) {
  const found = new Map();
  for (const finding of findings) {
    const { level, code, reason, remedy } = finding;
    const key = JSON.stringify([level, code, reason, remedy]);
    if (!found.has(key)) found.set(key, { level, code, reason, remedy, places: [] });
    found.get(key).places.push(place(finding));
  }
  return [...found.values()];
}

function place({ operator, tensor }) {
  const parts = [];
  if (operator) parts.push(`operator ${operator.index}, ${operator.kind} v${operator.version}`);
  if (tensor) parts.push(`tensor ${tensor}`);
  return parts.join(", ");
}

function findingItem({ level, code, reason, remedy, places }) {
  const shown = places.filter(Boolean).slice(0, PLACES_SHOWN);
  const left = places.length - PLACES_SHOWN;
  if (left > 0) shown.push(`and ${left} more`);
  return element("li", [
    element("p", [element("strong", level), " ", element("a", code, {
      href: `explanations.html#${encodeURIComponent(code)}`,
    }), `: ${reason}`]),
    element("p", `Remedy: ${remedy}`),
    ...shown.map((line) => element("p", line, { class: "quiet" })),
  ], { class: level });
}

function showTimes(found, failed) {
  const rows = found.map((e) => [
    settings.devices[e.device], e.latency_ms.toFixed(1), e.bound,
    size(e.streamed_bytes),
  ]);
  const heads = ["Device", ">ms", "Bound by", ">Sent each time"];
  at("times").replaceChildren(...(rows.length
    ? [table("Estimated milliseconds of one inference", heads, rows)] : []));
  at("caveat").textContent = failed ? failed.err : "";
  at("slowest-title").parentElement.hidden = !rows.length;
  const select = at("device");
  select.replaceChildren(...found.map((e) =>
    element("option", settings.devices[e.device], { value: e.device })));
  select.onchange = () => showDevice(found.find((e) => e.device === select.value));
  if (rows.length) showDevice(found[0]);
}

function showDevice({ caveat, operators }) {
  at("caveat").textContent = caveat;
  const ranked = [...operators].sort((a, b) => b.latency_ms - a.latency_ms);
  const rows = ranked.slice(0, SLOWEST_SHOWN).map((o) => [
    `${o.index} ${o.operator}`, o.latency_ms.toFixed(3), o.bound,
    o.output_shape.slice(1).join("×"),
    o.macs ? (o.macs / 1e6).toFixed(1) : "–", size(o.weight_bytes),
  ]);
  const heads = ["Operator", ">ms", "Bound by", "Output", ">MMAC", ">Weights"];
  at("slowest").replaceChildren(
    table(`The ${rows.length} slowest operators`, heads, rows));
}

function showJson(check, estimates) {
  const outputs = [{ name: "check", ...check }, ...estimates.map((each) => ({
    name: `estimate --device=${each.device}`, ...each,
  }))];
  at("json").replaceChildren(...outputs.map(({ name, out, err }) => element("details", [
    element("summary", ["Output of ", element("code", `${name} --json`)]),
    element("pre", out || err, { "data-command": name, tabindex: "0" }),
  ])));
}

// ---- page ----------------------------------------------------------------------

at("served").hidden = true;
at("version").textContent = settings.version;
at("sample").onclick = takeSample;
at("model").onchange = ({ target }) => {
  take([...target.files]);
  target.value = ""; // So that the same file, changed, can be chosen again.
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("over");
};
document.ondragleave = () => document.body.classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take([...event.dataTransfer.files]);
};

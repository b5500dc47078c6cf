// Run the commands `check` and `estimate` in Python, in a thread beside the page's.
//
// Takes {id, name, files}: a model by its name, and what lies beside it. Posts {bytes} while
// Python loads, then {id, check, estimates} with what the commands printed, or
// {id, failure}.
import settings from "./settings.js";

const PACKAGES = "/python";
const FOLDER = "/model";
const COMMANDS = `
import contextlib, io, sys
sys.path.append("${PACKAGES}")
from edgetpu_lib.commands.main import main

def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return code, out.getvalue(), err.getvalue()
run
`;

// Pyodide fetches its own files: count the bytes of each as they arrive.
const fetchWhole = self.fetch.bind(self);
let loaded = 0;
self.fetch = async (...request) => {
  const response = await fetchWhole(...request);
  if (!response.ok) throw new Error(`${response.status}: ${response.url}`);
  const counter = new TransformStream({
    transform(chunk, controller) {
      loaded += chunk.byteLength;
      self.postMessage({ bytes: loaded });
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body.pipeThrough(counter), {
    headers: response.headers,
  });
};

async function load() {
  const { loadPyodide } = await import("./pyodide.mjs");
  const [python, sources] = await Promise.all([
    loadPyodide(),
    fetch(new URL("python.zip", self.location)).then((found) => found.arrayBuffer()),
  ]);
  python.FS.mkdir(FOLDER);
  python.unpackArchive(sources, "zip", { extractDir: PACKAGES });
  return { python, run: python.runPython(COMMANDS) };
}

function command(run, ...words) {
  const result = run(...words);
  const [code, out, err] = result.toJs();
  result.destroy();
  return { code, out, err: err.trim() };
}

// The files are read where they lie, not copied into Python's memory.
function examine({ python, run }, name, files) {
  const { FS } = python;
  FS.mount(FS.filesystems.WORKERFS, { files }, FOLDER);
  FS.chdir(FOLDER);
  try {
    const check = command(run, "check", "--json", "--", name);
    const devices = check.code === 2 ? [] : Object.keys(settings.devices);
    const estimates = devices.map((device) => ({
      device,
      ...command(run, "estimate", "--json", `--device=${device}`, "--", name),
    }));
    return { check, estimates };
  } finally {
    FS.chdir("/");
    FS.unmount(FOLDER);
  }
}

const loading = load();
loading.catch(() => {}); // Told with the first file.

self.onmessage = async ({ data: { id, name, files } }) => {
  try {
    self.postMessage({ id, ...examine(await loading, name, files) });
  } catch (error) {
    const lines = String(error.message ?? error).trim().split("\n");
    self.postMessage({ id, failure: lines.at(-1) });
  }
};

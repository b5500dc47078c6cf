// The parts of the page: inside it as compressed text, or files beside it.
async function part(name) {
  const inside = document.getElementById(`part:${name}`);
  if (!inside) {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name} is missing beside the page (${response.status}).`);
    return new Uint8Array(await response.arrayBuffer());
  }
  const packed = Uint8Array.from(atob(inside.textContent), (letter) => letter.charCodeAt(0));
  inside.remove();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function runScript(content) {
  const address = URL.createObjectURL(new Blob([content], { type: "text/javascript" }));
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onload = resolve;
    script.onerror = () => reject(new Error("This browser does not start the runtime; use another one."));
    script.src = address;
    document.head.append(script);
  }).finally(() => URL.revokeObjectURL(address));
}

// A function of one vector instruction; browsers without them refuse it.
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0,
  10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);

// Return a function that runs the model: typed array → typed array of its output.
// The runtime's own classes know no int8, so that its module is called directly.
async function startModel({ input, output }) {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD)) {
    throw new Error("This browser has no WebAssembly SIMD; update it, or use another one.");
  }
  const [script, wasmBinary, content] = await Promise.all(
    ["litert.js", "litert.wasm", "model.tflite"].map(part));
  await runScript(script);
  const quiet = () => {};
  const litert = await ModuleFactory({ wasmBinary, print: quiet, printErr: quiet });
  litert.setupLogging();
  const environment = { liteRtEnvironment: litert.LiteRtEnvironment.create(null), webGpuDevice: null };
  const address = litert._malloc(content.byteLength);
  litert.HEAPU8.set(content, address);
  const model = litert.loadModel(environment.liteRtEnvironment, address, content.byteLength);
  const compiled = await litert.compileModel(environment.liteRtEnvironment, model, {
    environment, accelerator: "wasm", cpuOptions: { numThreads: 1 }, gpuOptions: {}, webNNOptions: {},
  });
  const type = model.getInputTensorType(0, 0);
  const fed = litert.LiteRtTensorBuffer.createManaged(environment.liteRtEnvironment,
    litert.LiteRtTensorBufferType.HOST_MEMORY, type, type.bytes());
  const { READ, WRITE } = litert.LiteRtTensorBufferLockMode;

  return async (values) => {
    litert.HEAPU8.set(new Uint8Array(values.buffer), fed.lock(WRITE));
    fed.unlock();
    const [found] = await compiled.run(0, [fed]);
    const start = found.lock(READ);
    const bytes = litert.HEAPU8.slice(start, start + found.packedSize());
    found.unlock();
    found.delete();
    return new TYPES[output.dtype](bytes.buffer);
  };
}

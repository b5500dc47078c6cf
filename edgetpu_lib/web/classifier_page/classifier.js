const settings = JSON.parse(document.getElementById("settings").textContent);
const at = (id) => document.getElementById(id);
const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });
let run, stream, newest = 0;

function say(text, isError = false) {
  at("status").textContent = isError ? "" : text;
  at("error").textContent = isError ? text : "";
  at("error").hidden = !isError;
}

// What the model sees of an image or a video: RGBA bytes [rows, columns].
function seenOf(source, height, width) {
  const { top, left, rows, columns } = windowOf(height, width, settings.window);
  [canvas.height, canvas.width] = [rows, columns];
  context.drawImage(source, -left, -top);
  return { rgba: context.getImageData(0, 0, columns, rows).data, rows, columns };
}

async function classify(source, height, width) {
  const { rgba, rows, columns } = seenOf(source, height, width);
  const { size } = settings.window;
  const pixels = middleOf(resizeBicubic(rgba, rows, columns, size), size, settings.input);
  const fed = quantize(pixels, settings.input);
  const start = performance.now();
  const values = await run(fed);
  const latencyMs = performance.now() - start;
  return { pixels, latencyMs, scores: probabilities(values, settings.output, settings.logistic) };
}

function show({ pixels, latencyMs, scores }) {
  const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b).slice(0, 5);
  at("bars").replaceChildren(...order.map((index) => bar(settings.labels[index], scores[index], index)));
  at("latency").textContent = `${latencyMs.toFixed(1)} ms in this browser`;
  const { height, width } = settings.input;
  const seen = at("seen");
  [seen.width, seen.height] = [width, height];
  const shown = new ImageData(width, height);
  for (let index = 0; index < width * height; index++) {
    shown.data.set([...pixels.subarray(index * 3, index * 3 + 3), 255], index * 4);
  }
  seen.getContext("2d").putImageData(shown, 0, 0);
  at("result").hidden = false;
}

function bar(label, score, index) {
  const row = document.createElement("li");
  row.dataset.index = index;
  row.dataset.probability = score;
  const name = document.createElement("span");
  name.textContent = label;
  name.dir = "auto";
  const share = document.createElement("span");
  share.className = "number";
  share.textContent = `${(100 * score).toFixed(1)} %`;
  const length = document.createElement("div");
  length.className = "bar";
  length.style.setProperty("--share", Math.min(score, 1));
  row.append(name, share, length);
  return row;
}

async function classifyFile(file) {
  const mine = ++newest;
  stopCamera();
  let image;
  try {
    // Neither colours nor transparency are converted, as `deploy` does not.
    image = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    at("result").hidden = true;
    say(`${file.name || "This"} is not an image that this browser reads; choose a JPEG or PNG file.`, true);
    return;
  }
  const found = await classify(image, image.height, image.width);
  if (mine !== newest) return;
  show(found);
  const best = at("bars").firstChild;
  say(`${best.children[0].textContent}, ${best.children[1].textContent}`);
  image.close();
}

const CAMERA_ERRORS = {
  NotAllowedError: "The camera may not be used; permit it in the browser's address bar, or choose an image.",
  NotFoundError: "There is no camera; choose an image.",
  NotReadableError: "Another program uses the camera; close it, or choose an image.",
};

async function startCamera() {
  if (stream) return stopCamera();
  const mine = ++newest;
  try {
    if (!navigator.mediaDevices) throw { name: "none" };
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const elsewhere = "The camera needs a page opened from the disk or by https; choose an image.";
    return say(CAMERA_ERRORS[error.name] ?? elsewhere, true);
  }
  at("video").srcObject = stream;
  at("live").hidden = false;
  at("camera").textContent = "Stop the camera";
  say("Tap the picture to freeze it.");
  await at("video").play();
  watchCamera(mine);
}

async function watchCamera(mine) {
  const video = at("video");
  while (stream && mine === newest) {
    if (!video.paused && video.videoWidth) {
      const found = await classify(video, video.videoHeight, video.videoWidth);
      if (stream && mine === newest && !video.paused) show(found);
    }
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = undefined;
  at("live").hidden = true;
  at("camera").textContent = "Camera";
}

function freeze() {
  const video = at("video");
  if (video.paused) video.play();
  else video.pause();
  at("freeze").setAttribute("aria-pressed", video.paused);
  say(video.paused ? "Frozen; tap again to go on." : "Tap the picture to freeze it.");
}

function guard(action) {
  return (...given) => Promise.resolve(action(...given)).catch((error) => say(error.message ?? String(error), true));
}

async function addSamples() {
  for (const [index, { name, type }] of settings.samples.entries()) {
    const blob = new Blob([await part(name)], { type });
    const button = document.createElement("button");
    const image = document.createElement("img");
    image.src = URL.createObjectURL(blob);
    image.alt = "";
    button.type = "button";
    button.className = "sample";
    button.setAttribute("aria-label", `Sample image ${index + 1}`);
    button.append(image);
    button.onclick = guard(() => classifyFile(blob));
    at("samples").append(button);
  }
}

function listen() {
  const classifyFirst = guard((files) => {
    const [file] = [...files].filter((each) => each instanceof File);
    return file && classifyFile(file);
  });
  at("file").onchange = () => classifyFirst(at("file").files).finally(() => { at("file").value = ""; });
  at("camera").onclick = guard(startCamera);
  at("freeze").onclick = freeze;
  addEventListener("paste", (event) => classifyFirst(event.clipboardData.files));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    classifyFirst(event.dataTransfer.files);
  });
}

guard(async () => {
  run = await startModel(settings);
  const { dtype, height, width } = settings.input;
  // The first run is slower than all others.
  await run(new TYPES[dtype](height * width * 3));
  await addSamples();
  listen();
  for (const control of document.querySelectorAll("[disabled]")) control.disabled = false;
  say("Ready.");
  document.body.dataset.ready = "yes";
})();

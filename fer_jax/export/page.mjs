// The page: pictures and camera frames in, boxes and cards out. Comes after faces.mjs in one script.

const settings = JSON.parse(document.getElementById("settings").textContent);
const { classes, emoji, colours } = settings;
const NOT_SURE = "not sure";
const MAX_PIXELS = 50_000_000;
const SHOWN_SIDE = 1400; // pixels of the longer side of a picture as it is shown
const CAMERA_SIDE = 640; // pixels of the longer side of a frame in which faces are looked for
const byId = (id) => document.getElementById(id);
const status = byId("status");

let ort, session, cascades, camera;

async function start() {
  const began = performance.now();
  const [runtime, wasm, model, json] = await Promise.all(
    ["runtime", "wasm", "model", "cascades"].map(unpack),
  );
  const url = URL.createObjectURL(new Blob([runtime], { type: "text/javascript" }));
  ort = await import(url);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm;
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  await classify([new Uint8Array(SIDE * SIDE)]); // the first pass is slow
  const { face, eye } = JSON.parse(new TextDecoder().decode(json));
  cascades = { face: prepare(face), eye: prepare(eye) };
  for (const control of [byId("files"), byId("camera")]) control.disabled = false;
  byId("choose").classList.remove("off");
  document.documentElement.dataset.ready = Math.round(performance.now());
  say(`Ready (${Math.round(performance.now() - began)} ms to unpack).`);
}

async function unpack(id) {
  const text = atob(byId(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function say(text) {
  status.textContent = text;
}

// Calibrated probabilities of each crop, an array of arrays.
async function classify(crops) {
  const data = new Uint8Array(crops.length * SIDE * SIDE);
  crops.forEach((crop, i) => data.set(crop, i * crop.length));
  const images = new ort.Tensor("uint8", data, [crops.length, SIDE, SIDE]);
  const { probabilities } = await session.run({ images });
  return crops.map((_, i) =>
    Array.from(probabilities.data.subarray(i * classes.length, (i + 1) * classes.length)),
  );
}

// The faces of what a canvas shows, with their probabilities and the milliseconds of both steps.
async function look(context, minFace = settings.min_face) {
  const { width, height } = context.canvas;
  const began = performance.now();
  const picture = toGrey(context.getImageData(0, 0, width, height));
  const faces = findFaces(picture, { ...settings, ...cascades, min_face: minFace });
  const found = performance.now();
  const all = faces.length ? await classify(faces.map((face) => face.crop)) : [];
  const ms = { find: found - began, judge: performance.now() - found };
  return { faces: faces.map((face, i) => ({ ...face, probabilities: all[i] })), ms };
}

// The drop of the probability of class k where a square hides the face, a mean over the squares
// that cover a pixel: as --mode=explain, Zeiler and Fergus 2014.
async function occlusion({ crop, probabilities }, k) {
  const { size, stride } = settings.occlusion;
  const starts = [];
  for (let at = 0; at < SIDE - size; at += stride) starts.push(at);
  starts.push(SIDE - size);
  const grey = Math.round(crop.reduce((a, b) => a + b) / crop.length);
  const drops = new Float32Array(SIDE * SIDE);
  const covered = new Float32Array(SIDE * SIDE);
  for (const top of starts) {
    const places = starts.map((left) => squareAt(top, left, size));
    const hidden = places.map((place) => {
      const copy = crop.slice();
      for (const i of place) copy[i] = grey;
      return copy;
    });
    const all = await classify(hidden);
    places.forEach((place, n) => {
      for (const i of place) {
        drops[i] += probabilities[k] - all[n][k];
        covered[i] += 1;
      }
    });
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
  }
  return drops.map((sum, i) => sum / covered[i]);
}

function squareAt(top, left, size) {
  const at = [];
  for (let y = top; y < top + size; y++) {
    for (let x = left; x < left + size; x++) at.push(y * SIDE + x);
  }
  return at;
}

function answer(probabilities) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  const sure = probabilities[best] >= byId("threshold").value / 100;
  const name = sure ? classes[best] : NOT_SURE;
  const words = `${classes[best]} ${percent(probabilities[best])}`;
  return { best, name, text: sure ? words : `${NOT_SURE} (${words})` };
}

function percent(p) {
  return `${Math.floor(100 * p)} %`;
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function describe(faces, ms) {
  if (!faces.length) return "No upright frontal face found.";
  const said = faces.map((face) => answer(face.probabilities).text).join(", ");
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  return `${count}: ${said}. Finding ${ms.find.toFixed(0)} ms, judging ${ms.judge.toFixed(0)} ms.`;
}

// An <article> of one picture; `show` draws what was found in it, again whenever it changes.
function makeArticle(title) {
  const canvas = element("canvas", { className: "picture" });
  canvas.setAttribute("role", "img");
  const summary = element("p", { className: "soft" });
  const list = element("ul", { className: "faces" });
  const article = element("article", {}, element("h2", { textContent: title }), summary, canvas, list);
  byId("results").prepend(article);
  byId("clear").hidden = false;
  let last;

  function show(source, { faces, ms } = last) {
    last = { faces, ms };
    if (source) draw(canvas, source, faces);
    summary.textContent = describe(faces, ms);
    canvas.setAttribute("aria-label", `${title}: ${summary.textContent}`);
    while (list.children.length > faces.length) list.lastChild.remove();
    faces.forEach((face, n) => {
      if (!list.children[n]) list.append(makeCard(n));
      fillCard(list.children[n], face);
    });
  }
  return { article, list, show };
}

function draw(canvas, source, faces) {
  const scale = Math.min(1, SHOWN_SIDE / Math.max(source.width, source.height));
  canvas.width = Math.round(source.width * scale);
  canvas.height = Math.round(source.height * scale);
  const pen = canvas.getContext("2d");
  pen.drawImage(source, 0, 0, canvas.width, canvas.height);
  const thick = Math.max(2, Math.max(canvas.width, canvas.height) / 250);
  for (const { box, probabilities } of faces) {
    const { name, text } = answer(probabilities);
    const [x, y, width, height] = box.map((v) => v * scale);
    const size = Math.min(Math.max(height / 3, 30), 90);
    pen.strokeStyle = pen.fillStyle = colours[name];
    pen.lineWidth = thick;
    pen.strokeRect(x, y, width, height);
    pen.font = `600 ${Math.max(13, 0.4 * size)}px system-ui, sans-serif`;
    const words = pen.measureText(text).width;
    const left = Math.max(0, Math.min(x, canvas.width - size - words - 12));
    let top = y - size;
    if (top < 0) top = y + height + size <= canvas.height ? y + height : y;
    pen.fillRect(left + size / 2, top + size / 5, size / 2 + words + 12, 0.6 * size);
    pen.fillStyle = "#fff";
    pen.textBaseline = "middle";
    pen.fillText(text, left + size + 5, top + size / 2);
    pen.drawImage(pictures[name], left, top, size, size);
  }
}

const pictures = Object.fromEntries(
  Object.entries(emoji).map(([name, src]) => [name, element("img", { src, alt: "" })]),
);

function makeCard(n) {
  const bars = classes.map((name) =>
    element("li", {}, element("span", { textContent: name }),
      element("span", { className: "track" }, element("i")), element("span")),
  );
  const view = (caption) => {
    const canvas = element("canvas", { width: SIDE, height: SIDE });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", caption);
    return element("figure", {}, canvas, element("figcaption", { textContent: caption }));
  };
  const card = element("li", { className: "face" },
    element("img", { alt: "" }), element("h3"), element("ul", { className: "bars" }, ...bars),
    element("div", { className: "views" }, view("what the network sees"), view("where it looks")));
  card.querySelector(".bars").setAttribute("aria-label", `probabilities of face ${n + 1}`);
  card.querySelector("figure:last-child").hidden = true;
  return card;
}

function fillCard(card, { box, crop, probabilities }) {
  const { name, text } = answer(probabilities);
  card.querySelector("img").src = emoji[name];
  card.querySelector("h3").textContent = text;
  card.style.setProperty("--colour", colours[name]);
  card.dataset.box = box.join(",");
  card.dataset.probabilities = probabilities.join(",");
  card.querySelectorAll(".bars li").forEach((bar, k) => {
    bar.querySelector("i").style.width = `${100 * probabilities[k]}%`;
    bar.lastChild.textContent = percent(probabilities[k]);
  });
  paint(card.querySelector("canvas"), (i) => [crop[i], crop[i], crop[i]]);
}

async function addHeat(card, face) {
  const { best } = answer(face.probabilities);
  const drops = await occlusion(face, best);
  const most = Math.max(0.02, ...drops);
  const figure = card.querySelector("figure:last-child");
  const strongest = drops.indexOf(Math.max(...drops));
  const [row, column] = [Math.floor(strongest / SIDE), strongest % SIDE];
  const place = `${["upper", "middle", "lower"][Math.floor((row * 3) / SIDE)]} part, ${
    ["left", "centre", "right"][Math.floor((column * 3) / SIDE)]}`;
  figure.firstChild.setAttribute(
    "aria-label", `Heat map: hiding the ${place}, costs ${classes[best]} most`);
  paint(figure.firstChild, (i) => {
    const heat = Math.max(0, drops[i] / most);
    const base = 0.75 * face.crop[i] + 40;
    return [base + (255 - base) * heat, base * (1 - 0.8 * heat), base * (1 - heat)];
  });
  figure.lastChild.textContent = `where ${classes[best]} comes from`;
  figure.hidden = false;
}

function paint(canvas, colourOf) {
  const image = new ImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) image.data.set([...colourOf(i), 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function open(file) {
  const name = file.name || "pasted picture";
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image", colorSpaceConversion: "none",
    });
  } catch {
    return `${name}: not a picture that this browser can open.`;
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) return `${name}: ${width}x${height} pixels are too many.`;
  const context = contextOf(width, height);
  context.fillStyle = "#fff"; // under what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const found = await look(context);
  const { article, list, show } = makeArticle(name);
  shown.push(() => show(context.canvas));
  show(context.canvas, found);
  article.dataset.file = name;
  for (const [n, face] of found.faces.slice(0, 8).entries()) await addHeat(list.children[n], face);
  article.dataset.done = "";
  return `${name}: ${describe(found.faces, found.ms)}`;
}

function contextOf(width, height) {
  const canvas = element("canvas", { width, height });
  return canvas.getContext("2d", { willReadFrequently: true });
}

let shown = []; // functions that draw anew what is on the page
let queue = Promise.resolve(); // one picture after the other

function openAll(files) {
  for (const file of files) {
    queue = queue.then(async () => {
      say(`Looking at ${file.name} …`);
      await new Promise((resolve) => setTimeout(resolve, 20)); // shows the line
      say(await open(file));
    });
  }
}

async function startCamera() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: CAMERA_SIDE } });
  } catch (error) {
    say(`The camera cannot be used (${error.message}). Photographs work without it.`);
    return;
  }
  const video = element("video", { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  const scale = Math.min(1, CAMERA_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const context = contextOf(
    Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  const { article, show } = makeArticle("Camera");
  article.dataset.file = "camera";
  camera = { stop: () => stream.getTracks().forEach((track) => track.stop()) };
  byId("camera").textContent = "Stop the camera";
  say("The camera is on.");
  const own = camera;
  while (camera === own) {
    context.drawImage(video, 0, 0, context.canvas.width, context.canvas.height);
    const found = await look(context, Math.max(settings.min_face, context.canvas.height / 6));
    if (camera === own) show(context.canvas, found);
    article.dataset.frames = 1 + Number(article.dataset.frames ?? 0);
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  camera.stop();
  camera = undefined;
  byId("camera").textContent = "Use the camera";
  say("The camera is off.");
}

byId("files").addEventListener("change", ({ target }) => {
  openAll([...target.files]);
  target.value = "";
});
byId("camera").addEventListener("click", () => (camera ? stopCamera() : startCamera()));
byId("clear").addEventListener("click", () => {
  if (camera) stopCamera();
  shown = [];
  byId("results").replaceChildren();
  byId("clear").hidden = true;
  say("Cleared.");
  byId("files").focus();
});
byId("threshold").addEventListener("input", showThreshold);
addEventListener("paste", ({ clipboardData }) => openAll([...clipboardData.files]));
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") openAll([...event.dataTransfer.files]);
  });
}
byId("more").addEventListener("click", async () => {
  byId("parties").textContent = new TextDecoder().decode(await unpack("third_parties"));
  byId("parties").hidden = false;
  byId("more").hidden = true;
});

function showThreshold() {
  byId("sure").textContent = `${byId("threshold").value} %`;
  for (const again of shown) again();
}

showThreshold();
start().catch((error) => say(`This browser cannot run the network: ${error.message}`));

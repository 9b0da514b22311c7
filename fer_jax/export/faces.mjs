// Finds and crops upright frontal faces as fer_jax/predict/faces.py does with OpenCV: the same
// boxes, the same 48x48 pixels but for roundings. Viola and Jones 2001; cascades of stumps without
// tilted features.
//
// A picture is {width, height, pixels: Uint8Array}, grey, row by row. A box is [x, y, width, height].

export const SIDE = 48; // pixels of a crop
const DETECTION_SIDE = 1280; // pixels: longer pictures may be shrunk for the detector
const DETECTION_PIXELS = 2_000_000; // it is shrunk to that at most; faces.py has 16 million
const EYE_SIDE = 160; // pixels: width at which eyes are looked for
const MAX_TURN = 30; // degrees: a larger angle between the "eyes" is a wrong detection
const SAME = 0.2; // rectangles of one face differ by at most this share of their side

// Half to even, as OpenCV and Python round: 2.5 is 2.
function round(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.floor(value + 0.5);
  return low % 2 ? low + 1 : low;
}

export function toGrey({ width, height, data }) {
  // of the RGBA of a canvas
  const pixels = new Uint8Array(width * height);
  for (let i = 0, j = 0; i < pixels.length; i++, j += 4) {
    pixels[i] = (data[j] * 9798 + data[j + 1] * 19235 + data[j + 2] * 3735 + 16384) >> 15;
  }
  return { width, height, pixels };
}

// From the JSON of fer_jax/export/page.py to arrays. A stump: feature < threshold ? left : right;
// a feature is the weighted sum of two or three rectangles.
export function prepare({ window, stages }) {
  const stumps = stages.flatMap((stage) => stage.stumps);
  const rectangles = new Int32Array(stumps.length * 12); // x, y, width, height of each of three
  const numbers = new Float32Array(stumps.length * 6); // threshold, left, right, three weights
  stumps.forEach(([threshold, left, right, ...rects], n) => {
    numbers.set([threshold, left, right, ...rects.map((r) => r[4])], n * 6);
    rects.forEach((r, i) => rectangles.set(r.slice(0, 4), n * 12 + i * 4));
  });
  const thresholds = stages.map((s) => Math.fround(Math.fround(s.threshold) - Math.fround(1e-5)));
  const counts = stages.map((s) => s.stumps.length);
  return { window, rectangles, numbers, thresholds: Float32Array.from(thresholds), counts };
}

// The boxes of what a cascade finds, with the number of windows that agree, before any choice.
export function detectMultiScale(picture, cascade, { factor, neighbours, min, max = Infinity }) {
  const { width, height } = picture;
  const found = [];
  let stripes = 0;
  for (let scale = 1; ; scale *= factor) {
    const s = Math.fround(scale);
    const side = round(Math.fround(cascade.window * s));
    if (side > Math.min(width, height, max)) break;
    if (side < min) continue;
    const small = resizeExact(picture, s);
    stripes ||= Math.ceil((small.width + 1 - cascade.window) / 32);
    scan(small, cascade, { scale: s, side, stripes }, found);
  }
  return group(found, neighbours).map(({ box: [x, y, w, h], votes }) => ({
    box: [x, y, Math.min(w, width - x), Math.min(h, height - y)],
    votes,
  }));
}

function scan(picture, cascade, { scale, side, stripes }, found) {
  const { width, height } = picture;
  const { window, numbers, thresholds, counts } = cascade;
  const { sums, squares, stride } = integrals(picture);
  const corners = offsets(cascade.rectangles, stride);
  const inner = window - 2; // the contrast is that of the window without its rim
  const area = inner * inner;
  const step = scale >= 2 ? 1 : 2;
  const place = (at) => round(Math.fround(at * scale)); // in the whole picture
  const top = stride + 1;
  const down = inner * stride;
  // OpenCV divides the rows among its threads, and with some heights forgets the last
  const rows = height + 1 - window;
  const each = Math.max(Math.floor((Math.floor(rows / step) + stripes - 1) / stripes), 1) * step;
  for (let y = 0; y < Math.min(rows, each * stripes); y += step) {
    for (let x = 0; x < width + 1 - window; x += step) {
      const at = y * stride + x;
      const p = at + top;
      const sum = sums[p] - sums[p + inner] - sums[p + down] + sums[p + down + inner];
      const square =
        (squares[p] - squares[p + inner] - squares[p + down] + squares[p + down + inner]) >>> 0;
      const variance = area * square - sum * sum;
      let norm = 1;
      if (variance > 0) {
        norm = Math.fround(1 / Math.sqrt(variance));
        if (!(area * norm < 0.1)) continue; // too flat for a face
      }
      let stump = 0;
      let stage = 0;
      for (; stage < counts.length; stage++) {
        let total = 0;
        for (const end = stump + counts[stage]; stump < end; stump++) {
          const n = stump * 6;
          const c = stump * 12;
          let value = // whole numbers below 2^24: exact, as in OpenCV's float32
            numbers[n + 3] * rectangle(sums, at, corners, c) +
            numbers[n + 4] * rectangle(sums, at, corners, c + 4);
          if (numbers[n + 5] !== 0) value += numbers[n + 5] * rectangle(sums, at, corners, c + 8);
          total += Math.fround(value * norm) < numbers[n] ? numbers[n + 1] : numbers[n + 2];
        }
        if (total < thresholds[stage]) break;
      }
      if (stage === counts.length) found.push([place(x), place(y), side, side]);
      else if (stage === 0) x += step; // far from a face: OpenCV leaves out the next place
    }
  }
}

function rectangle(sums, at, corners, c) {
  return (
    sums[at + corners[c]] - sums[at + corners[c + 1]] -
    sums[at + corners[c + 2]] + sums[at + corners[c + 3]]
  );
}

function offsets(rectangles, stride) {
  const corners = new Int32Array(rectangles.length);
  for (let i = 0; i < rectangles.length; i += 4) {
    const [x, y, width, height] = rectangles.subarray(i, i + 4);
    const first = y * stride + x;
    corners.set([first, first + width, first + height * stride], i);
    corners[i + 3] = first + height * stride + width;
  }
  return corners;
}

// Sums over all pixels above and to the left, of values and of squares modulo 2^32.
function integrals({ width, height, pixels }) {
  const stride = width + 1;
  const sums = new Int32Array(stride * (height + 1));
  const squares = new Int32Array(stride * (height + 1));
  for (let y = 0; y < height; y++) {
    let sum = 0;
    let square = 0;
    for (let x = 0; x < width; x++) {
      const value = pixels[y * width + x];
      const at = (y + 1) * stride + x + 1;
      sum += value;
      square += value * value;
      sums[at] = sums[at - stride] + sum;
      squares[at] = squares[at - stride] + square;
    }
  }
  return { sums, squares, stride };
}

// Rectangles of about the same place and size become their mean, where more than `neighbours`
// agree; not those that lie in a better one.
function group(boxes, neighbours) {
  const parent = boxes.map((_, i) => i);
  const root = (i) => (parent[i] === i ? i : (parent[i] = root(parent[i])));
  for (let i = 0; i < boxes.length; i++) {
    for (let j = 0; j < i; j++) if (similar(boxes[i], boxes[j])) parent[root(i)] = root(j);
  }
  const sums = new Map();
  boxes.forEach((box, i) => {
    const sum = sums.get(root(i)) ?? { box: [0, 0, 0, 0], votes: 0 };
    sums.set(root(i), { box: sum.box.map((v, k) => v + box[k]), votes: sum.votes + 1 });
  });
  const means = [...sums.values()]
    .filter((sum) => sum.votes > neighbours)
    .map(({ box, votes }) => {
      const share = Math.fround(1 / votes);
      return { box: box.map((v) => round(Math.fround(v * share))), votes };
    });
  return means.filter((one) => !means.some((other) => other !== one && covers(other, one)));
}

function similar(a, b) {
  const delta = (SAME * (Math.min(a[2], b[2]) + Math.min(a[3], b[3]))) / 2;
  return (
    Math.abs(a[0] - b[0]) <= delta && Math.abs(a[1] - b[1]) <= delta &&
    Math.abs(a[0] + a[2] - b[0] - b[2]) <= delta && Math.abs(a[1] + a[3] - b[1] - b[3]) <= delta
  );
}

function covers({ box: b, votes }, { box: a, votes: own }) {
  const dx = round(b[2] * SAME);
  const dy = round(b[3] * SAME);
  const inside =
    a[0] >= b[0] - dx && a[1] >= b[1] - dy &&
    a[0] + a[2] <= b[0] + b[2] + dx && a[1] + a[3] <= b[1] + b[3] + dy;
  return inside && (votes > Math.max(3, own) || own < 3);
}

// [{box, crop}], the largest face first.
export function findFaces(picture, { face, eye, min_face, margin, align }) {
  return detect(picture, face, min_face).map((box) => {
    const angle = align ? eyeAngle(picture, box, eye) : 0;
    return { box, crop: cropSquare(picture, box, round(box[2] * (1 + 2 * margin)), angle) };
  });
}

export function detect(picture, cascade, minFace) {
  const { width, height } = picture;
  const wanted = Math.max(cascade.window / minFace, DETECTION_SIDE / Math.max(width, height));
  const scale = Math.min(1, wanted, Math.sqrt(DETECTION_PIXELS / (width * height)));
  const small =
    scale < 1
      ? resizeArea(picture, ...scaled(picture, scale))
      : picture;
  const min = Math.max(cascade.window, round(minFace * scale));
  if (Math.min(small.width, small.height) < min) return [];
  const found = detectMultiScale(small, cascade, { factor: 1.1, neighbours: 6, min })
    .map(({ box, votes }) => ({ box: box.map((v) => round(v / scale)), votes }))
    .sort((a, b) => b.votes - a.votes);
  const kept = [];
  for (const { box } of found) {
    const area = (b) => b[2] * b[3];
    const apart = (other) => shared(box, other) < 0.3 * Math.min(area(box), area(other));
    if (kept.every(apart)) kept.push(box);
  }
  return kept.sort((a, b) => b[2] * b[3] - a[2] * a[3]);
}

function shared(a, b) {
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

// Degrees by which the line between the eyes falls to the right; 0 where no pair is found.
export function eyeAngle(picture, [x, y, width, height], cascade) {
  const upper = cut(picture, x, y, width, round(0.6 * height));
  const scale = EYE_SIDE / width;
  const resized = resizeLinear(upper, ...scaled(upper, scale));
  const eyes = detectMultiScale(resized, cascade, {
    factor: 1.1, neighbours: 4, min: EYE_SIDE / 8, max: EYE_SIDE / 2,
  }).sort(({ box: a }, { box: b }) => a[0] + a[2] / 2 - b[0] - b[2] / 2 || a[1] + a[3] / 2 - b[1] - b[3] / 2);
  let best = 0;
  let angle = 0;
  for (const left of eyes) {
    for (const right of eyes) {
      const [a, b] = [left, right].map(({ box }) => [box[0] + box[2] / 2, box[1] + box[3] / 2]);
      const across = b[0] - a[0];
      const turn = (Math.atan2(b[1] - a[1], across) * 180) / Math.PI;
      const votes = left.votes + right.votes;
      const sides = a[0] < EYE_SIDE / 2 && EYE_SIDE / 2 < b[0];
      const apart = 0.25 * EYE_SIDE < across && across < 0.65 * EYE_SIDE;
      if (sides && apart && Math.abs(turn) < MAX_TURN && votes > best) {
        best = votes;
        angle = turn;
      }
    }
  }
  return angle;
}

// Width, height and pixels from place to place, as OpenCV takes them where it is given a factor.
function scaled({ width, height }, factor) {
  return [round(width * factor), round(height * factor), 1 / factor];
}

function cut({ width, height, pixels }, x, y, w, h) {
  const [left, top] = [Math.max(x, 0), Math.max(y, 0)];
  const [right, bottom] = [Math.min(x + w, width), Math.min(y + h, height)];
  const out = new Uint8Array((right - left) * (bottom - top));
  for (let row = top; row < bottom; row++) {
    const line = pixels.subarray(row * width + left, row * width + right);
    out.set(line, (row - top) * (right - left));
  }
  return { width: right - left, height: bottom - top, pixels: out };
}

// 48x48: the square of `side` pixels around the middle of the box, turned by `angle` degrees, so
// that what falls to the right becomes level. Beyond the picture its edge repeats.
export function cropSquare({ width, height, pixels }, box, side, angle) {
  side = Math.max(side, 1);
  const [cx, cy] = [box[0] + (box[2] - 1) / 2, box[1] + (box[3] - 1) / 2];
  const [cos, sin] = [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)];
  const out = new Uint8Array(side * side);
  const at = (x, y) =>
    pixels[Math.min(Math.max(y, 0), height - 1) * width + Math.min(Math.max(x, 0), width - 1)];
  const place = (value) => Math.floor(value * 32 + 0.5) / 32; // OpenCV reads at 1/32 of a pixel
  for (let v = 0; v < side; v++) {
    for (let u = 0; u < side; u++) {
      const [du, dv] = [u - (side - 1) / 2, v - (side - 1) / 2];
      const x = place(cx + cos * du - sin * dv);
      const y = place(cy + sin * du + cos * dv);
      const [x0, y0] = [Math.floor(x), Math.floor(y)];
      const [fx, fy] = [x - x0, y - y0];
      const upper = at(x0, y0) * (1 - fx) + at(x0 + 1, y0) * fx;
      const lower = at(x0, y0 + 1) * (1 - fx) + at(x0 + 1, y0 + 1) * fx;
      out[v * side + u] = Math.floor(upper * (1 - fy) + lower * fy + 0.5);
    }
  }
  const square = { width: side, height: side, pixels: out };
  return (side > SIDE ? resizeArea : resizeLinear)(square, SIDE, SIDE).pixels;
}

// Bilinear, with whole numbers as OpenCV has them: INTER_LINEAR_EXACT and INTER_LINEAR, bit for
// bit.
function resizeExact(picture, scale) {
  const [w, h] = [picture.width, picture.height].map((n) => round(Math.fround(n / scale)));
  const mix = (a, b, u, v) => (a * u + b * v + 2 ** 15) >> 16;
  return resizeBilinear(picture, w, h, { bits: 8, mix });
}

function resizeLinear(picture, width, height, step) {
  const mix = (a, b, u, v) => ((((a >> 4) * u) >> 16) + (((b >> 4) * v) >> 16) + 2) >> 2;
  return resizeBilinear(picture, width, height, { bits: 11, mix, step });
}

function resizeBilinear(picture, width, height, { bits, mix, step }) {
  if (width === picture.width && height === picture.height) return picture;
  const columns = taps(picture.width, width, bits, step);
  const rows = taps(picture.height, height, bits, step);
  const one = 2 ** bits;
  const wide = new Int32Array(width * picture.height);
  for (let y = 0; y < picture.height; y++) {
    const line = picture.pixels.subarray(y * picture.width, (y + 1) * picture.width);
    for (let x = 0; x < width; x++) {
      const w = columns.weight[x];
      wide[y * width + x] = line[columns.low[x]] * (one - w) + line[columns.high[x]] * w;
    }
  }
  const pixels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const [a, b, w] = [rows.low[y] * width, rows.high[y] * width, rows.weight[y]];
    for (let x = 0; x < width; x++) {
      pixels[y * width + x] = mix(wide[a + x], wide[b + x], one - w, w);
    }
  }
  return { width, height, pixels };
}

// For each of `count` places between which two of `size` pixels it lies, and how near the second.
function taps(size, count, bits, step = size / count) {
  const low = new Int32Array(count);
  const high = new Int32Array(count);
  const weight = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const place = (i + 0.5) * step - 0.5;
    const first = Math.floor(place);
    low[i] = Math.max(first, 0);
    high[i] = Math.min(first + 1, size - 1);
    weight[i] = round((place - first) * 2 ** bits);
  }
  return { low, high, weight };
}

// Each pixel is the mean of the area that it covers.
export function resizeArea(picture, width, height, step) {
  const wide = new Float64Array(width * picture.height);
  shares(picture.width, width, step).forEach(({ from, weights }, x) => {
    for (let y = 0; y < picture.height; y++) {
      const start = y * picture.width + from;
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += picture.pixels[start + i] * weights[i];
      wide[y * width + x] = sum;
    }
  });
  const pixels = new Uint8Array(width * height);
  shares(picture.height, height, step).forEach(({ from, weights }, y) => {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += wide[(from + i) * width + x] * weights[i];
      pixels[y * width + x] = Math.floor(sum + 0.5);
    }
  });
  return { width, height, pixels };
}

function shares(size, count, step = size / count) {
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor(i * step + 1e-9);
    const to = Math.min(Math.ceil((i + 1) * step - 1e-9), size);
    const end = Math.min((i + 1) * step, size);
    const weights = [];
    for (let j = from; j < to; j++) {
      weights.push((Math.min(j + 1, end) - Math.max(j, i * step)) / (end - i * step));
    }
    return { from, weights };
  });
}

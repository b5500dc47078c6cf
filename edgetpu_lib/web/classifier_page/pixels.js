// Crop, resize and quantize as the library's `images/pixels` and `tflite/feed` do, to the bit:
// every step is rounded to 32 bits, in the same order.
const f32 = Math.fround;

// Half to even, as NumPy's rint.
function rint(x) {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

// What the network sees of an image: the centre or, stretched, the whole.
function windowOf(height, width, { size, padding, resize }) {
  if (resize === "stretch") return { top: 0, left: 0, rows: height, columns: width };
  const side = Math.max(1, Math.floor((size / (size + padding)) * Math.min(height, width)));
  return {
    top: Math.floor((height - side + 1) / 2),
    left: Math.floor((width - side + 1) / 2),
    rows: side,
    columns: side,
  };
}

// Keys' cubic kernel with a = −0.75, from a table of 1024 steps.
function bicubicTaps(old, size) {
  const [steps, a] = [1024, -0.75];
  const near = (x) => f32(((a + 2) * x - (a + 3)) * x * x + 1);
  const far = (x) => f32(((a * x - 5 * a) * x + 8 * a) * x - 4 * a);
  const ratio = f32(f32(old) / f32(size));
  return Array.from({ length: size }, (_, index) => {
    const position = f32(ratio * f32(index));
    const whole = Math.floor(position);
    const step = rint(f32(f32(position - f32(whole)) * steps));
    const [x, rest] = [step / steps, (steps - step) / steps];
    return {
      taps: [-1, 0, 1, 2].map((tap) => Math.min(Math.max(whole + tap, 0), old - 1)),
      weights: [far(x + 1), near(x), near(rest), far(rest + 1)],
    };
  });
}

// RGBA bytes [rows, columns] → float32 RGB [size, size], which overshoots 0..255.
function resizeBicubic(rgba, rows, columns, size) {
  const [down, across] = [bicubicTaps(rows, size), bicubicTaps(columns, size)];
  const high = new Float32Array(size * columns * 3);
  for (let row = 0; row < size; row++) {
    const { taps, weights } = down[row];
    for (let column = 0; column < columns; column++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let tap = 0; tap < 4; tap++) {
          sum = f32(sum + f32(rgba[(taps[tap] * columns + column) * 4 + channel] * weights[tap]));
        }
        high[(row * columns + column) * 3 + channel] = sum;
      }
    }
  }
  const small = new Float32Array(size * size * 3);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const { taps, weights } = across[column];
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let tap = 0; tap < 4; tap++) {
          sum = f32(sum + f32(high[(row * columns + taps[tap]) * 3 + channel] * weights[tap]));
        }
        small[(row * size + column) * 3 + channel] = sum;
      }
    }
  }
  return small;
}

// The middle of a square image, as large as an oblong input.
function middleOf(pixels, size, { height, width }) {
  const [top, left] = [Math.floor((size - height) / 2), Math.floor((size - width) / 2)];
  const middle = new Float32Array(height * width * 3);
  for (let row = 0; row < height; row++) {
    const start = ((top + row) * size + left) * 3;
    middle.set(pixels.subarray(start, start + width * 3), row * width * 3);
  }
  return middle;
}

function quantize(pixels, input) {
  const fed = new TYPES[input.dtype](pixels.length);
  const [mean, stddev] = [input.mean.map(f32), input.stddev.map(f32)];
  for (let index = 0; index < pixels.length; index++) {
    const real = f32(f32(pixels[index] - mean[index % 3]) / stddev[index % 3]);
    if (input.dtype === "float32") {
      fed[index] = real;
      continue;
    }
    let step = rint(real);
    if (input.raw) step = rint(pixels[index]) + input.lowest;
    else if (input.scale) step = rint(f32(real / f32(input.scale))) + input.zero_point;
    fed[index] = Math.min(Math.max(step, input.lowest), input.highest);
  }
  return fed;
}

const TYPES = {
  float32: Float32Array, uint8: Uint8Array, int8: Int8Array, int16: Int16Array, uint16: Uint16Array,
};

// Scores as the library's `tflite/scores` makes probabilities of them.
function probabilities(values, { scale, zero_point }, logistic) {
  let scores = Array.from(values, (value) => scale ? f32(f32(value - zero_point) * f32(scale)) : value);
  if (scores.some((score) => Number.isNaN(score) || score === Infinity)) {
    throw new Error("The model gives scores that are not numbers (NaN or infinity).");
  }
  if (scores.length === 1) {
    const share = logistic ? scores[0] : f32(1 / (1 + Math.exp(-Math.min(Math.max(scores[0], -88), 88))));
    scores = [f32(1 - share), share];
  }
  const highest = Math.max(...scores);
  if (Math.min(...scores) >= 0 && highest <= 1.01) return scores;
  const powers = scores.map((score) => Math.exp(score - highest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

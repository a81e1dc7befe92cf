// A picture of a sound on the mel scale.

const SIZE = 1024; // samples of one spectrum
const LOWEST = 40; // Hz
const RANGE = 70; // dB below the loudest point that are shown
const PALETTE = [[6, 4, 20], [62, 14, 95], [130, 32, 108], [196, 62, 80], [240, 120, 42], [250, 196, 70], [252, 252, 190]];

const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
const hertz = (value) => 700 * (10 ** (value / 2595) - 1);

/** In place, radix 2. */
function transform(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let half = 1; half < n; half <<= 1) {
    const [c, s] = [Math.cos(-Math.PI / half), Math.sin(-Math.PI / half)];
    for (let start = 0; start < n; start += 2 * half) {
      let [wr, wi] = [1, 0];
      for (let k = start; k < start + half; k++) {
        const [a, b] = [re[k + half] * wr - im[k + half] * wi, re[k + half] * wi + im[k + half] * wr];
        [re[k + half], im[k + half]] = [re[k] - a, im[k] - b];
        re[k] += a;
        im[k] += b;
        [wr, wi] = [wr * c - wi * s, wr * s + wi * c];
      }
    }
  }
}

/** Power in dB of `bands` mel bands at `columns` times of a decoded sound, column by column. */
export function melOf(buffer, columns = 512, bands = 48) {
  const data = buffer.getChannelData(0);
  const other = buffer.numberOfChannels > 1 ? buffer.getChannelData(1) : data;
  const top = mel(buffer.sampleRate / 2), bottom = mel(LOWEST);
  const edges = Array.from({ length: bands + 1 }, (_, k) => (hertz(bottom + ((top - bottom) * k) / bands) / buffer.sampleRate) * SIZE);
  const slope = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
  const [re, im] = [new Float32Array(SIZE), new Float32Array(SIZE)];
  const found = new Float32Array(columns * bands);
  for (let x = 0; x < columns; x++) {
    const first = Math.round(((x + 0.5) / columns) * data.length - SIZE / 2);
    for (let i = 0; i < SIZE; i++) re[i] = (((data[first + i] ?? 0) + (other[first + i] ?? 0)) / 2) * slope[i];
    im.fill(0);
    transform(re, im);
    for (let k = 0; k < bands; k++) {
      const from = Math.floor(edges[k]), to = Math.max(from + 1, Math.floor(edges[k + 1]));
      let power = 0;
      for (let i = from; i < to; i++) power = Math.max(power, re[i] ** 2 + im[i] ** 2);
      found[x * bands + k] = 10 * Math.log10(power + 1e-12);
    }
  }
  return { columns, bands, levels: found };
}

/** Canvas of a sound's mel, low bands at the bottom. */
export function picture(buffer) {
  const { columns, bands, levels } = melOf(buffer);
  const top = levels.reduce((a, b) => Math.max(a, b), -Infinity);
  const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: bands });
  const g = canvas.getContext("2d");
  const image = g.createImageData(columns, bands);
  for (let x = 0; x < columns; x++) {
    for (let k = 0; k < bands; k++) {
      const at = Math.min(1, Math.max(0, (levels[x * bands + k] - top) / RANGE + 1)) * (PALETTE.length - 1);
      const [low, high] = [PALETTE[Math.floor(at)], PALETTE[Math.min(PALETTE.length - 1, Math.floor(at) + 1)]];
      const place = 4 * ((bands - 1 - k) * columns + x);
      for (let c = 0; c < 3; c++) image.data[place + c] = low[c] + (high[c] - low[c]) * (at % 1);
      image.data[place + 3] = 255;
    }
  }
  g.putImageData(image, 0, 0);
  return canvas;
}

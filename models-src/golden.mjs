// What the TensorFlow.js reference scripts share: faces from sample photos, and golden files.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Photo and box (x, y, side in pixels) of three faces in `demo` of @vladmandic/face-api 1.7.15. */
const FACES = [
  ['sample3.jpg', 550, 320, 290],
  ['sample1.jpg', 1440, 190, 280],
  ['sample6.jpg', 1440, 250, 310],
];

/** Three faces of `size` x `size`, whole numbers 0..255, [3, size, size, 3]. */
export function faces(tf, jpeg, packageDir, size) {
  const crops = FACES.map(([file, x, y, side]) => {
    const { width, height, data } = jpeg.decode(readFileSync(join(packageDir, 'demo', file)), { formatAsRGBA: false });
    const photo = tf.tensor3d(new Uint8Array(data), [height, width, 3]).toFloat();
    return tf.image.resizeBilinear(photo.slice([y, x, 0], [side, side, 3]), [size, size]).round();
  });
  return tf.stack(crops);
}

/** NHWC to NCHW. */
export const nchw = (tf, x) => tf.transpose(x, [0, 3, 1, 2]);

/** Every `step`-th value, so that large activations stay small in the repository. */
export const sampled = (tf, x, step) => {
  const values = x.dataSync();
  return tf.tensor1d(Float32Array.from({ length: Math.ceil(values.length / step) }, (_, i) => values[i * step]));
};

/** Writes tests/golden/models/<name>.{safetensors,meta.json}; tensors named `*.input` are stored as U8. */
export function writeGolden(name, tensors, meta) {
  const header = { __metadata__: { format: 'pt' } };
  const parts = [];
  let offset = 0;
  for (const key of Object.keys(tensors).sort()) {
    const u8 = key.endsWith('.input') || key === 'input';
    const values = u8 ? Uint8Array.from(tensors[key].dataSync()) : Float32Array.from(tensors[key].dataSync());
    const bytes = Buffer.from(values.buffer);
    header[key] = { dtype: u8 ? 'U8' : 'F32', shape: tensors[key].shape, data_offsets: [offset, offset + bytes.length] };
    parts.push(bytes);
    offset += bytes.length;
  }
  let json = JSON.stringify(header);
  json += ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(json)));
  const path = join(ROOT, 'tests/golden/models', `${name}.safetensors`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, Buffer.concat([length, Buffer.from(json), ...parts]));
  writeFileSync(path.replace('.safetensors', '.meta.json'), `${JSON.stringify(meta, null, 2)}\n`);
}

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

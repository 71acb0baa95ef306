// Writes tests/golden/models/dlib-resnet.{safetensors,meta.json} with face-api on TensorFlow.js.
//
//     npm install --prefix models-src/dlib-resnet
//     node models-src/dlib-resnet/reference.mjs
//
// The network is face-api's; its stages are computed once more from face-api's parameters, and their end is compared
// with face-api's own output before anything is written.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { faces, nchw, sampled, sha256, writeGolden } from '../golden.mjs';

const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs');
const faceapi = require('@vladmandic/face-api/dist/face-api.node-wasm.js');
const jpeg = require('jpeg-js');
const packageDir = dirname(require.resolve('@vladmandic/face-api/package.json'));
const MEAN = [122.782, 117.001, 104.298];
const STEP = 29;

await tf.setBackend('cpu');
const bin = readFileSync(join(packageDir, 'model/face_recognition_model.bin'));
const manifest = JSON.parse(readFileSync(join(packageDir, 'model/face_recognition_model-weights_manifest.json')));
const buffer = bin.buffer.slice(bin.byteOffset, bin.byteOffset + bin.length);
const net = new faceapi.FaceRecognitionNet();
net.loadFromWeightMap(tf.io.decodeWeights(buffer, manifest[0].weights));
const p = net.params;

const conv = (x, { conv: c, scale: s }, stride, pad) =>
  tf.add(tf.mul(tf.add(tf.conv2d(x, c.filters, stride, pad), c.bias), s.weights), s.biases);
const residual = (x, u) => tf.relu(tf.add(conv(tf.relu(conv(x, u.conv1, 1, 'same')), u.conv2, 1, 'same'), x));
const residualDown = (x, u) => {
  const out = conv(tf.relu(conv(x, u.conv1, 2, 'valid')), u.conv2, 1, 'same');
  const pooled = tf.avgPool(x, 2, 2, 'valid');
  const missing = (axis) => [0, pooled.shape[axis] - out.shape[axis]];
  const channels = [0, out.shape[3] - pooled.shape[3]];
  return tf.relu(tf.add(tf.pad(out, [[0, 0], missing(1), missing(2), [0, 0]]), tf.pad(pooled, [[0, 0], [0, 0], [0, 0], channels])));
};

function stages(x) {
  const stem = tf.maxPool(tf.relu(conv(x, p.conv32_down, 2, 'valid')), 3, 2, 'valid');
  const out = { stem };
  let y = stem;
  const stage = (name, units) => {
    for (const unit of units) y = unit.endsWith('_down') || unit.endsWith('_out') ? residualDown(y, p[unit]) : residual(y, p[unit]);
    out[name] = y;
  };
  stage('conv32', ['conv32_1', 'conv32_2', 'conv32_3']);
  stage('conv64', ['conv64_down', 'conv64_1', 'conv64_2', 'conv64_3']);
  stage('conv128', ['conv128_down', 'conv128_1', 'conv128_2']);
  stage('conv256', ['conv256_down', 'conv256_1', 'conv256_2']);
  stage('conv256_down_out', ['conv256_down_out']);
  out.embedding = tf.matMul(tf.mean(y, [1, 2]), p.fc);
  return out;
}

const input = faces(tf, jpeg, packageDir, 150);
const centred = tf.sub(input, tf.tensor1d(MEAN));

// The stages written here are face-api's network: same output where face-api's own divisor is used.
const own = net.forwardInput({ toBatchTensor: () => input });
const difference = tf.max(tf.abs(tf.sub(own, stages(tf.div(centred, 255)).embedding))).dataSync()[0];
if (!(difference < 1e-6)) throw new Error(`the stages differ from face-api by ${difference}`);

// dlib's divisor, with which the weights were trained.
const found = stages(tf.div(centred, 256));
const golden = { input: nchw(tf, input), embedding: found.embedding };
for (const [name, x] of Object.entries(found)) {
  if (name !== 'embedding') golden[name] = sampled(tf, nchw(tf, x), STEP);
}
// Block: one halving unit on seeded noise, odd extent, so that the branch is a row and a column short.
const noise = tf.randomNormal([1, 8, 8, 128], 0, 1, 'float32', 29);
golden['block.in'] = nchw(tf, noise);
golden['block.out'] = nchw(tf, residualDown(noise, p.conv256_down));

writeGolden('dlib-resnet', golden, {
  framework: `@vladmandic/face-api 1.7.15 on @tensorflow/tfjs ${tf.version_core} (cpu)`,
  script: 'models-src/dlib-resnet/reference.mjs',
  seed: 29,
  weights_sha256: sha256(bin),
});
console.log('difference from face-api at its own divisor:', difference);

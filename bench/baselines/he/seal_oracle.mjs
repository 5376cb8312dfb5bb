// The operations of `stip-bench he` in Microsoft SEAL (npm node-seal: WebAssembly, which has no product of two 64-bit words
// to 128 bits; it needs Node.js 22), for results and times.
//
//   cd bench/baselines/he && npm install --package-lock=false && node_modules/.bin/node seal_oracle.mjs [START OF A PARAMETER SET'S NAME]
//
// Prints one JSON object: for each set milliseconds of each operation (medians), the largest difference of x (x + turned x) from exact
// arithmetic for the same numbers x = sin(i), and the first results, to be laid beside those of `stip-bench he --json`.
import SEAL from 'node-seal'

const repeats = 7
const sets = [
  ['8192-200', 8192, [56, 44, 44, 56], 44],
  ['8192-218', 8192, [39, 35, 35, 35, 35, 39], 35],
  ['16384-436', 16384, [50, ...Array(8).fill(42), 50], 42],
  ['32768-840', 32768, [50, ...Array(18).fill(41), 52], 41]
]

const seal = await SEAL()
const median = list => list.sort((a, b) => a - b)[Math.floor(list.length / 2)]

function measure([name, degree, bits, scaleBits]) {
  const params = new seal.EncryptionParameters(seal.SchemeType.ckks)
  params.setPolyModulusDegree(degree)
  params.setCoeffModulus(seal.CoeffModulus.Create(degree, Int32Array.from(bits)))
  const context = new seal.SEALContext(params, true, seal.SecLevelType.tc128)
  if (!context.parametersSet()) throw new Error(`${name}: refused by SEAL at 128-bit security`)
  const generator = new seal.KeyGenerator(context)
  const publicKey = generator.createPublicKey()
  const relinKeys = generator.createRelinKeys()
  const galoisKeys = generator.createGaloisKeysWithSteps(Int32Array.from([1]))
  const encoder = new seal.CKKSEncoder(context)
  const evaluator = new seal.Evaluator(context)
  const encryptor = new seal.Encryptor(context, publicKey)
  const decryptor = new seal.Decryptor(context, generator.secretKey())
  const slots = encoder.slotCount(), scale = 2 ** scaleBits
  const x = Float64Array.from({ length: slots }, (_, i) => Math.sin(i))
  const ms = {}
  const timed = (op, run) => {
    const start = performance.now()
    run()
    ;(ms[op] ??= []).push(performance.now() - start)
  }
  let error = 0, first
  for (let i = 0; i <= repeats; i++) {
    const plain = new seal.Plaintext(), a = new seal.Ciphertext(), b = new seal.Ciphertext(), other = new seal.Ciphertext()
    timed('encode', () => encoder.encode(x, scale, plain))
    timed('encrypt', () => encryptor.encrypt(plain, a))
    timed('rotate', () => evaluator.rotateVector(a, 1, galoisKeys, b))
    timed('add', () => evaluator.addInplace(b, a))
    timed('mul_plain', () => evaluator.multiplyPlain(a, plain, other))
    timed('mul', () => evaluator.multiplyInplace(b, a))
    timed('relin', () => evaluator.relinearizeInplace(b, relinKeys))
    timed('rescale', () => evaluator.rescaleToNextInplace(b))
    timed('decrypt', () => decryptor.decrypt(b, plain))
    let got
    timed('decode', () => { got = encoder.decodeFloat64(plain) })
    for (let s = 0; s < slots; s++) error = Math.max(error, Math.abs(got[s] - x[s] * (x[s] + x[(s + 1) % slots])))
    first = Array.from(got.slice(0, 4))
    for (const object of [plain, a, b, other]) object.delete()
  }
  for (const op in ms) ms[op] = Number(median(ms[op].slice(1)).toFixed(4))
  for (const object of [decryptor, encryptor, evaluator, encoder, galoisKeys, relinKeys, publicKey, generator, context, params]) object.delete()
  return { ms, max_error: error, first }
}

const out = {}
for (const set of sets) if (set[0].startsWith(process.argv[2] ?? '')) out[set[0]] = measure(set)
console.log(JSON.stringify(out))

// Opens the exported network: on WebGPU where the browser has it, else on WebAssembly.

const FOLDER = new URL("model/", import.meta.url);
const RUNTIME = new URL("ort/", import.meta.url);
const MOST_THREADS = 8;

/** What can be told to the user as it is: the rule, what came, what to do. */
export class Refusal extends Error {}

export class Network {
  #session;
  #ort;

  /** `runtime` is "webgpu", "wasm", or "auto". Throws `Refusal` for a model that is missing or can't be used. */
  static async open(runtime) {
    const network = new Network();
    network.manifest = await manifest();
    network.model = new Uint8Array(await (await get("model.onnx")).arrayBuffer());
    network.#checkFile();
    const onGpu = runtime === "webgpu" || (runtime !== "wasm" && (await hasGpu()));
    if (!onGpu || !(await network.#start("webgpu"))) await network.#start("wasm");
    network.#checkShape();
    return network;
  }

  /** Maps interleaved float32 of `height` by `width` pixels to the enlarged ones, on WebAssembly if WebGPU fails. */
  async run(planes, height, width) {
    try {
      return await this.#run(planes, height, width);
    } catch (error) {
      if (this.runtime !== "WebGPU") throw error;
      console.info(`WebGPU failed, WebAssembly goes on: ${error.message}`);
      await this.#start("wasm");
      return this.#run(planes, height, width);
    }
  }

  async #run(planes, height, width) {
    const { input, output, channels } = this.manifest;
    const lr = new this.#ort.Tensor("float32", planes, [1, height, width, channels]);
    const { [output.name]: sr } = await this.#session.run({ [input.name]: lr });
    const values = sr.data;
    sr.dispose?.();
    if (!values.every(Number.isFinite)) throw new Error("the network gives values that are no numbers");
    return values;
  }

  async #start(kind) {
    const ort = await import(new URL(`ort.${kind}.min.mjs`, RUNTIME)).catch(() => {
      throw new Refusal("ONNX Runtime Web is missing: run npm install in the folder of this page, then reload.");
    });
    const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
    ort.env.wasm.wasmPaths = RUNTIME.href;
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = "error"; // it warns of each shape that is not known beforehand
    try {
      this.#session = await ort.InferenceSession.create(this.model, { executionProviders: [kind] });
    } catch (error) {
      if (kind === "wasm") throw new Refusal(`model/model.onnx can't be opened (${line(error)}); export it again.`);
      console.info(`WebGPU can't be used, WebAssembly is taken: ${error.message}`);
      return false;
    }
    this.#ort = ort;
    this.runtime = kind === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`;
    return true;
  }

  #checkFile() {
    const { artifacts, layout, channels } = this.manifest;
    const told = artifacts.find((artifact) => artifact.file === "model.onnx");
    if (told?.bytes !== this.model.length) {
      throw new Refusal("model/model.onnx is not the file that model/manifest.json tells of; copy both from one export.");
    }
    if (layout !== "NHWC" || ![1, 3].includes(channels) || told.input_type.dtype !== "float32") {
      throw new Refusal(`This page runs float32 NHWC networks of 1 or 3 channels; model/ holds another kind.`);
    }
  }

  #checkShape() {
    const [, height, width] = this.#session.inputMetadata[0].shape;
    if (typeof height === "number" && height > 0) {
      throw new Refusal(`model/model.onnx takes ${width}x${height} pictures only; export a network that takes any size.`);
    }
  }
}

/** The first line of an error. */
export function line(error) {
  return String(error?.message ?? error).split("\n")[0];
}

// An adapter that is computed on the processor takes 80 times as long as WebAssembly.
async function hasGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !adapter.info?.isFallbackAdapter;
}

async function manifest() {
  const found = await (await get("manifest.json")).json().catch(() => ({}));
  if (found.format !== 1) throw new Refusal("model/manifest.json is not of format 1; export the network again.");
  return found;
}

async function get(name) {
  const response = await fetch(new URL(name, FOLDER), { cache: "no-cache" });
  if (response.ok) return response;
  throw new Refusal(
    `model/${name} is missing: copy an export folder to model/ beside this page (README.md), then reload.`,
  );
}

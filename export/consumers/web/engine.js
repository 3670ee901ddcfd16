// The page's end of the worker: a promise for each message.

export class Stopped extends Error {}

export class Engine {
  #worker;
  #waiting = new Map();
  #number = 0;
  #broken = null;

  constructor() {
    // A worker that is started from a blob inherits this page's Content-Security-Policy; from a file it would have none.
    const source = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.#worker = new Worker(address, { type: "module" });
    this.#worker.addEventListener("message", ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      const reason = event.message ?? "a module is missing";
      this.#fail(new Error(`The worker could not be started (${reason}); reload the page.`));
    });
  }

  call(verb, given = {}) {
    return new Promise((resolve, reject) => {
      if (this.#broken) return reject(this.#broken);
      this.#waiting.set(++this.#number, { resolve, reject });
      this.#worker.postMessage({ id: this.#number, verb, given });
    });
  }

  /** Ends the worker, in the middle of its work; what waits for it gets `Stopped`. */
  stop() {
    this.#worker.terminate();
    this.#fail(new Stopped());
  }

  #fail(error) {
    this.#broken = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

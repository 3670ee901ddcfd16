// The view of both pictures: a line between them, zoom and pan, by mouse, finger and keyboard.
// Lengths are CSS pixels; a level is the number of screen pixels for one of the result (0: what fits), `cx` and `cy` the
// point of the picture (0 to 1) in the middle of the view.

const LEVELS = [1, 2, 4];

export class Comparison {
  #figure; #view; #line; #output; #buttons;
  #width = 1; #height = 1; #level = 0; #fit = 1; #split = 50; #cx = 0.5; #cy = 0.5; #wheel = 0;

  constructor(figure) {
    this.#figure = figure;
    this.#view = figure.querySelector(".view");
    this.#line = figure.querySelector(".line");
    this.#output = figure.querySelector("output");
    this.#buttons = figure.querySelectorAll("[data-level]");
    for (const button of this.#buttons) button.addEventListener("click", () => this.#zoom(+button.dataset.level));
    this.#line.addEventListener("keydown", (event) => this.#key(event));
    this.#view.addEventListener("wheel", (event) => this.#turn(event), { passive: false });
    this.#pointers();
    new ResizeObserver(() => this.#layout()).observe(figure);
  }

  /** Begins a picture of that size: the result covers the enlargement as it comes, without a line. */
  start(width, height) {
    [this.#width, this.#height, this.#level, this.#cx, this.#cy, this.#split] = [width, height, 0, 0.5, 0.5, 0];
    this.#figure.classList.remove("whole");
    this.#layout();
  }

  finish() {
    this.#split = 50;
    this.#figure.classList.add("whole");
    this.#layout();
  }

  get #scale() {
    return (this.#level || this.#fit) / devicePixelRatio;
  }

  #layout() {
    const style = getComputedStyle(this.#figure);
    const room = this.#figure.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (!(room > 0)) return;
    const high = Math.max(innerHeight * 0.72, 240), ratio = devicePixelRatio;
    this.#fit = Math.min(room / this.#width, high / this.#height) * ratio;
    if (this.#fit > 1) this.#fit = Math.min(Math.floor(this.#fit), 4);
    this.#view.style.width = `${Math.min(room, Math.max((this.#width * this.#fit) / ratio, 240))}px`;
    this.#view.style.height = `${Math.min(high, Math.max((this.#height * this.#fit) / ratio, 160))}px`;
    this.#draw();
  }

  #draw() {
    const { clientWidth: wide, clientHeight: high } = this.#view;
    const w = this.#width * this.#scale, h = this.#height * this.#scale;
    const within = (centre, share) => clamp(centre, Math.min(0.5, share / 2), Math.max(0.5, 1 - share / 2));
    const whole = (value) => `${Math.round(value * devicePixelRatio) / devicePixelRatio}px`; // else 1× is blurred
    this.#cx = within(this.#cx, wide / w);
    this.#cy = within(this.#cy, high / h);
    const style = {
      x: whole(wide / 2 - this.#cx * w), y: whole(high / 2 - this.#cy * h), scale: this.#scale,
      w: `${this.#width}px`, h: `${this.#height}px`, split: `${this.#split}%`,
    };
    for (const name in style) this.#view.style.setProperty(`--${name}`, style[name]);
    this.#view.classList.toggle("pans", w > wide + 1 || h > high + 1);
    const shown = Math.round(this.#split);
    this.#line.setAttribute("aria-valuenow", shown);
    this.#line.setAttribute("aria-valuetext", `${shown} % the browser’s, ${100 - shown} % the network’s`);
    this.#output.value = `${Math.round((this.#level || this.#fit) * 100)} %`;
    for (const button of this.#buttons) button.setAttribute("aria-pressed", +button.dataset.level === this.#level);
  }

  #zoom(level, x = this.#view.clientWidth / 2, y = this.#view.clientHeight / 2) {
    const earlier = 1 / this.#scale;
    this.#level = level;
    this.#cx += ((x - this.#view.clientWidth / 2) * (earlier - 1 / this.#scale)) / this.#width;
    this.#cy += ((y - this.#view.clientHeight / 2) * (earlier - 1 / this.#scale)) / this.#height;
    this.#draw();
  }

  #step(way, x, y) {
    const now = this.#level || this.#fit;
    const further = [this.#fit, ...LEVELS].filter((value) => way * (value - now) > 0.01);
    if (!further.length) return;
    const next = way > 0 ? Math.min(...further) : Math.max(...further);
    this.#zoom(next === this.#fit ? 0 : next, x, y);
  }

  #move(split) {
    this.#split = clamp(split, 0, 100);
    this.#draw();
  }

  #pan(x, y) {
    this.#cx -= x / (this.#width * this.#scale);
    this.#cy -= y / (this.#height * this.#scale);
    this.#draw();
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const by = { PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
    const { clientWidth, clientHeight } = this.#view;
    if (arrow && event.shiftKey) this.#pan((-arrow[0] * clientWidth) / 8, (-arrow[1] * clientHeight) / 8);
    else if (arrow) this.#move(this.#split + 2 * (arrow[0] - arrow[1]));
    else if (by) this.#move(this.#split + by);
    else if ("+=".includes(event.key)) this.#step(1);
    else if (event.key === "-") this.#step(-1);
    else if (event.key === "0") this.#zoom(0);
    else return;
    event.preventDefault();
  }

  #turn(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.#wheel += event.deltaY; // a pinch on a touchpad is a hundred small turns
    if (Math.abs(this.#wheel) < 50) return;
    const { left, top } = this.#view.getBoundingClientRect();
    this.#step(-Math.sign(this.#wheel), event.clientX - left, event.clientY - top);
    this.#wheel = 0;
  }

  // On the line a drag moves it; beside it the picture, where that is larger than the view. A finger that goes down or
  // up scrolls the page.
  #pointers() {
    const view = this.#view;
    let drag = null;
    const slide = (event) =>
      this.#move(((event.clientX - view.getBoundingClientRect().left - drag.grab) / view.clientWidth) * 100);
    view.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary || !this.#figure.classList.contains("whole")) return;
      const held = this.#line.contains(event.target), mouse = event.pointerType === "mouse";
      const place = event.clientX - view.getBoundingClientRect().left;
      drag = {
        pans: !held && view.classList.contains("pans"), slides: mouse, x: event.clientX, y: event.clientY,
        grab: held ? place - (this.#split / 100) * view.clientWidth : 0,
      };
      view.setPointerCapture(event.pointerId);
      if (mouse && !drag.pans) slide(event);
    });
    view.addEventListener("mousedown", (event) => {
      event.preventDefault();
      this.#line.focus({ preventScroll: true });
    });
    view.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const x = event.clientX - drag.x, y = event.clientY - drag.y;
      if (drag.pans) {
        this.#pan(x, y);
        [drag.x, drag.y] = [event.clientX, event.clientY];
        return;
      }
      drag.slides ||= Math.abs(x) > Math.max(Math.abs(y), 3);
      if (drag.slides) slide(event);
    });
    view.addEventListener("pointerup", (event) => {
      if (drag && !drag.pans) slide(event);
      drag = null;
    });
    view.addEventListener("pointercancel", () => { drag = null; });
  }
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

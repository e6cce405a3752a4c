// One frame before and after: two images over each other and a line to move.

import { make } from "./elements.js";

export class Slider {
  constructor() {
    this.images = [make("img", { alt: "The latest frame of the video" }), make("img", { alt: "The same frame of the result" })];
    this.range = make("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Line between before and after", oninput: () => this.move() });
    this.root = make("div", { class: "viewer compare" },
      make("div", { class: "half before" }, this.images[0]), make("div", { class: "half after" }, this.images[1]),
      make("span", { class: "edge", "aria-hidden": "true" }),
      make("span", { class: "tag left", "aria-hidden": "true" }, "Before"), make("span", { class: "tag right", "aria-hidden": "true" }, "After"),
      this.range);
    this.address = null;
    this.move();
  }

  move() {
    this.root.style.setProperty("--cut", `${this.range.value}%`);
    this.range.setAttribute("aria-valuetext", `${this.range.value} % before, ${100 - this.range.value} % after`);
  }

  /** `image`: a blob with the frame before on its left half and after on its right half. */
  async show(image) {
    const address = URL.createObjectURL(image);
    const loaded = make("img", { src: address });
    await loaded.decode();
    this.root.style.setProperty("--shape", `${loaded.naturalWidth / 2} / ${loaded.naturalHeight}`);
    for (const half of this.images) half.src = address;
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = address;
  }
}

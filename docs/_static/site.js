// Sliders where no Python runs: a dial's pictures, drawn when the lesson was built, by place.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".dial").forEach((dial) => {
    const { sliders, frames } = JSON.parse(dial.querySelector("script").textContent);
    const picture = dial.querySelector("img");
    const places = sliders.map((slider) => slider.place);
    const show = () => {
      const at = sliders.reduce((sum, slider, i) => sum * slider.values.length + places[i], 0);
      picture.src = frames[at].src;
      picture.alt = frames[at].alt;
      picture.width = frames[at].width;
    };
    const box = document.createElement("div");
    sliders.forEach((slider, i) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      const value = document.createElement("output");
      Object.assign(input, {
        type: "range", min: 0, max: slider.values.length - 1, step: 1, value: slider.place,
      });
      const tell = () => {
        value.textContent = slider.values[places[i]];
        input.setAttribute("aria-valuetext", slider.values[places[i]]);
      };
      input.addEventListener("input", () => {
        places[i] = Number(input.value);
        tell();
        show();
      });
      tell();
      label.append(`${slider.name} `, input, " ", value);
      box.append(label);
    });
    dial.prepend(box);
  });
});

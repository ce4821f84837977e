// A slider over a list of stops, each with its value in words, which stands beside it and is read out.
let made = 0;

function render({ model, el }) {
  const row = document.createElement("div");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const value = document.createElement("output");
  row.className = "pclib-slider";
  input.type = "range";
  input.min = "0";
  input.id = `pclib-slider-${(made += 1)}`;
  label.htmlFor = value.htmlFor = input.id;
  row.append(label, input, value);
  el.append(row);

  const say = () => {
    const words = model.get("stops")[Number(input.value)] ?? "";
    value.textContent = words;
    input.setAttribute("aria-valuetext", words);
  };
  const follow = () => {
    label.textContent = model.get("label");
    input.max = String(model.get("stops").length - 1);
    input.value = String(model.get("index"));
    say();
  };
  input.addEventListener("input", () => {
    say();
    model.set("index", Number(input.value));
    model.save_changes();
  });
  model.on("change:label change:stops change:index", follow);
  follow();
  return () => model.off("change:label change:stops change:index", follow);
}
export default { render };

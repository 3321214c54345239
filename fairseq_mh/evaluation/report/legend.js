// Hides and shows the lines and points of a legend's entry in the figures above it.

for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const visible = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", visible);
    for (const plot of button.closest("figure").querySelectorAll(".js-plotly-plot")) {
      const traces = plot.data.flatMap(({ legendgroup }, n) => (legendgroup === button.dataset.group ? [n] : []));
      if (traces.length) Plotly.restyle(plot, { visible }, traces);
    }
  });
}

"use strict";
// Tables sort by the column whose heading is pressed: numbers from the largest down, then up, what has none last.
for (const table of document.querySelectorAll("table")) {
  table.tHead.addEventListener("click", event => {
    const heading = event.target.closest("th");
    if (!heading) return;
    const isNumber = heading.classList.contains("n");
    const before = heading.getAttribute("aria-sort");
    const descends = before ? before === "ascending" : isNumber;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descends ? "descending" : "ascending");
    const sign = descends ? -1 : 1;
    const value = row => {
      const cell = row.cells[heading.cellIndex];
      return isNumber ? parseFloat(cell.dataset.v ?? cell.textContent.replaceAll(",", "")) : cell.textContent;
    };
    const rows = [...table.tBodies[0].rows].map(row => [value(row), row]);
    rows.sort(([a], [b]) => isNumber
      ? (isNaN(a) - isNaN(b)) || sign * (a - b) || 0
      : sign * a.localeCompare(b, undefined, { numeric: true }));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
}

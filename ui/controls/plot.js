// Noise before each step, from all noise (left) to the picture (right). Steps that a source leaves out are hollow.
const bars = element.querySelector("g"), words = element.querySelector(".plan-words"), figure = element.querySelector("figure");
const WIDTH = 320, HEIGHT = 64, NS = "http://www.w3.org/2000/svg";

function draw() {
  const plan = window.easelPlan;
  figure.hidden = !plan?.shares?.length;
  if (figure.hidden) return;
  const shares = plan.shares.slice(0, -1), room = WIDTH / shares.length, gap = Math.min(2, room / 4);
  bars.replaceChildren(...shares.map((share, step) => {
    const bar = document.createElementNS(NS, "rect"), height = Math.max(1, share * (HEIGHT - 2));
    for (const [name, value] of Object.entries({ x: step * room + gap / 2, y: HEIGHT - height, width: room - gap, height })) bar.setAttribute(name, value.toFixed(2));
    bar.classList.toggle("is-skipped", step < plan.start);
    bar.classList.toggle("is-start", plan.start > 0 && step === plan.start);
    return bar;
  }));
  const half = shares.findIndex((share) => share < 0.5), first = shares[plan.start];
  const begins = plan.start === 0 ? "" : first === undefined ? "no step is walked" : `starts at step ${plan.start + 1} with ${Math.round(first * 100)} % noise`;
  words.textContent = begins || (half < 0 ? `${shares.length} steps` : `half the noise is gone by step ${half + 1} of ${shares.length}`);
  element.querySelector("svg").setAttribute("aria-label", `Noise before each of ${shares.length} steps: ${words.textContent}`);
}

window.addEventListener("easel:plan", draw);
draw();

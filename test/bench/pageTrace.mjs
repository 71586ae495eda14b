/** What a page spends on the experiment panel, by Chromium's own trace: processor time of its main thread, in seconds of each second. */
import { setTimeout as sleep } from 'node:timers/promises';

const LAYOUT = new Set(['UpdateLayoutTree', 'Layout', 'PrePaint', 'Paint', 'Layerize']);
/** In the workbench, and in the panel's preview. */
const SCRIPT = /\/webview\/main\.js|^http:\/\/127\.0\.0\.1:\d+\/main\.js/;
const isTask = ({ name }) => name === 'RunTask' || name === 'ThreadControllerImpl::RunTask';

/**
 * Traces the page for some seconds. `script`: the panel's script with what it calls. `layout`: styles, layout and paint records of the panel's
 * frame. `drawing`: what else is done in the tasks in which the panel works, VS Code's part of the same frames included: composing, and drawing the
 * canvases, which is on this thread where there is no GPU. `main`: the whole main thread, VS Code's workbench included.
 */
export async function tracePanel(browser, page, seconds) {
  await browser.startTracing(page, { categories: ['toplevel', 'devtools.timeline'] });
  await sleep(1000 * seconds);
  const { traceEvents: events } = JSON.parse(String(await browser.stopTracing()));
  const thread = ({ pid, tid }) => `${pid}:${tid}`;
  const mains = new Set(events.filter((event) => event.name === 'thread_name' && event.args.name === 'CrRendererMain').map(thread));
  const all = events.filter((event) => event.ph === 'X' && event.tdur !== undefined && mains.has(thread(event))).sort((a, b) => a.ts - b.ts || b.dur - a.dur);
  const ours = outermost(all.filter((event) => event.name === 'FunctionCall' && SCRIPT.test(event.args.data?.url ?? '')));
  const frames = new Set(ours.map((event) => event.args.data.frame));
  const ofPanel = (event) => frames.has(event.args.beginData?.frame ?? event.args.data?.frame);
  const within = (event) => ours.some((outer) => event.ts >= outer.ts && event.ts + event.dur <= outer.ts + outer.dur);
  const laidOut = all.filter((event) => LAYOUT.has(event.name));
  const worked = [...ours, ...laidOut.filter(ofPanel)];
  const tasks = outermost(all.filter(isTask));
  const withPanel = tasks.filter((task) => worked.some((event) => thread(event) === thread(task) && event.ts >= task.ts && event.ts + event.dur <= task.ts + task.dur));
  const sum = (list) => list.reduce((total, { tdur }) => total + tdur, 0) / 1e6 / seconds;
  const [script, layout] = [sum(ours) - sum(laidOut.filter(within)), sum(laidOut.filter(ofPanel))];
  return { script, layout, drawing: Math.max(0, sum(withPanel) - script - layout), main: sum(tasks) };
}

/** Those that lie in no other of them. */
function outermost(sorted) {
  const ends = new Map();
  return sorted.filter((event) => {
    const key = `${event.pid}:${event.tid}`;
    if (event.ts < (ends.get(key) ?? -Infinity)) return false;
    ends.set(key, event.ts + event.dur);
    return true;
  });
}

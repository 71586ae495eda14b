/** Target modules: one box for each kind of linear layer. Single layers are ticked in the Model tree. */
import { formatCompact, formatInteger } from '../src/protocol/adapterMath';
import { nearest } from '../src/protocol/experiment';
import { buttonStates } from './actions';
import { h, setText, show } from './dom';
import { problemText } from './settingsForm';
import { describeTargets, targetKinds, tickKind, type TargetKind } from './targets';
import { button, checkbox, progressRing, setChecked, setDisabled, type Checkbox } from './ui';
import type { Host, Part, View } from './view';

export const TARGETS_KEY = 'lora.target_modules';

/** The box with the kinds of modules. */
export function targetsBox(host: Host): Part {
  const summary = h('p', { class: 'summary', id: 'target-summary' });
  const list = h('div', { class: 'targets', role: 'group', 'aria-labelledby': 'targets-title', 'aria-describedby': 'message-lora.target_modules' });
  const loading = h('p', { class: 'loading', role: 'status' }, progressRing('Reading the base model'), 'Reading the base model…');
  const message = h('p', { class: 'message problem', id: 'message-lora.target_modules', role: 'status' });
  const choose = button({ label: 'Choose…', action: 'selectTargets', press: () => host.act('selectTargets') });
  const boxes = new Map<string, { box: Checkbox; detail: HTMLElement }>();
  let view: View;
  let drawnFor: unknown[] = [];

  const change = (kind: string, on: boolean): void => {
    const model = view.experiment?.model;
    if (!model || !view.values) return;
    host.edit(tickKind(model, view.values.lora, kind, on));
  };
  const rebuild = (kinds: readonly TargetKind[]): void => {
    boxes.clear();
    list.replaceChildren(...kinds.map(({ kind }) => {
      const box = checkbox(kind, `target:${kind}`, on => change(kind, on));
      const detail = h('span', { class: 'detail' });
      boxes.set(kind, { box, detail });
      return h('div', { class: 'target' }, box, detail);
    }));
  };

  return {
    element: h('div', { class: 'card', id: 'targets' },
      h('div', { class: 'card-title' }, h('h2', { id: 'targets-title' }, 'Target modules'), choose), summary, loading, list, message),
    update(next) {
      view = next;
      const { experiment, values, active } = view;
      // Metrics arrive ten times a second and change nothing here.
      const inputs = [experiment, values, active, view.edits.failure(TARGETS_KEY.split('.'))];
      if (inputs.every((input, i) => input === drawnFor[i]) && drawnFor.length) return;
      drawnFor = inputs;
      const model = experiment?.model;
      show(loading, !model && !experiment?.model_error && !!experiment?.trusted && !!values?.base_model);
      show(list, !!model && !values?.lora.full);
      setDisabled(choose, !buttonStates(experiment, view.run, 0).selectTargets!.enabled);
      setText(message, targetProblem(view) ?? '');
      if (!values) return;
      setText(summary, describeTargets(model ?? null, values.lora));
      if (!model) return;
      const kinds = targetKinds(model, values.lora);
      if (kinds.length !== boxes.size || kinds.some(({ kind }) => !boxes.has(kind))) rebuild(kinds);
      for (const { kind, modules, ticked, parameters } of kinds) {
        const { box, detail } = boxes.get(kind)!;
        setChecked(box, ticked === modules.length, ticked > 0 && ticked < modules.length);
        setDisabled(box, active);
        const [out, inner] = modules[0].shape;
        setText(detail, `${ticked > 0 && ticked < modules.length ? `${ticked} of ` : ''}${modules.length} × [${out}, ${inner}] · ${formatCompact(parameters)}`);
        detail.title = `${modules.length} matrices W [${out}, ${inner}]; adapters on all of them: ${formatInteger(parameters)} parameters`;
      }
    },
  };
}

/** What is wrong with `target_modules`: in the file, or because an entry matches nothing in the model. */
function targetProblem({ experiment, values, cost, edits }: View): string | undefined {
  const path = TARGETS_KEY.split('.');
  const failure = edits.failure(path);
  if (failure) return `not saved: ${failure.cause}`;
  if (values?.lora.full) return undefined;
  if (cost && cost.count.adapters.length === 0 && cost.count.unmatched.length === 0) return 'No module is adapted: tick at least one.';
  const problem = experiment?.problems.find(({ path: at }) => at.join('.') === TARGETS_KEY);
  if (problem && !edits.has(path)) return problemText(problem);
  if (!cost?.count.unmatched.length || !experiment?.model || !values) return undefined;
  const names = experiment.model.modules.filter(m => m.adaptable).map(m => m.name.split('.').pop()!);
  return cost.count.unmatched.map(entry => {
    const near = nearest(entry, [...new Set(names)]);
    return `“${entry}” matches no module${near ? `: did you mean “${near}”?` : '.'}`;
  }).join(' ');
}

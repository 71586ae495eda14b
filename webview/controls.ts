/** The settings column: model and data, adapter, target modules, cost, training. Each control edits one key of the experiment file. */
import { rankLimit, scalingOf } from '../src/protocol/adapterMath';
import type { ErrorReport } from '../src/protocol/engine';
import { formatReport, settingsFixed, type ExperimentValues } from '../src/protocol/panel';
import { WHOLE_MODEL } from './actions';
import { costBox } from './costBox';
import { h, setAttributes, setText, show } from './dom';
import { boxRow, choiceRow, pathRow, sliderRow, textRow, type Edit, type Row } from './fields';
import { formatNumber, roughBytes } from './format';
import { drawn } from './icons';
import { decades, doublings, evenly, rankStops } from './ranges';
import { keyOf, problemText, sortProblems, valueAt } from './settingsForm';
import { targetsBox, TARGETS_KEY } from './targetsBox';
import type { Host, Part, View } from './view';

/** Where the base model is not known yet, sliders reach as far as usual ranks. */
const USUAL_RANK_LIMIT = 256;

/** The highest rank on the slider. */
const highestRank = (view: View): number => view.cost?.count.rank_limit || USUAL_RANK_LIMIT;

/** What is wrong with the first field whose text cannot be used; `show` puts the cursor into it. */
interface WrongField { report: ErrorReport; show(): void }

/** The whole column. */
export function controls(host: Host): Part & { wrong(): WrongField | undefined } {
  const edit: Edit = (path, value) => host.edit([{ path, value }]);
  const browse = (path: string[]): void => host.browse(path);
  const sources = [pathRow('Base model', ['base_model'], browse), pathRow('Training data', ['dataset', 'train'], browse), pathRow('Evaluation data', ['dataset', 'eval'], browse)];
  const rank = sliderRow('Rank', ['lora', 'r'], rankStops(USUAL_RANK_LIMIT), edit);
  const alpha = sliderRow('Alpha', ['lora', 'lora_alpha'], rankStops(2 * USUAL_RANK_LIMIT), edit);
  const training: Row[] = [
    sliderRow('Learning rate', ['training', 'learning_rate'], decades(-6, -2), edit),
    sliderRow('Batch size', ['training', 'per_device_train_batch_size'], doublings(1, 256), edit),
    sliderRow('Epochs', ['training', 'num_train_epochs'], [1, 2, 3, 4, 5, 6, 8, 10, 15, 20], edit),
    choiceRow('Device', ['engine', 'device'], edit),
    choiceRow('Base weights', ['engine', 'precision'], edit),
  ];
  const adapter: Row[] = [rank, alpha, sliderRow('Dropout', ['lora', 'lora_dropout'], evenly(0.5, 20), edit)];
  const moreOfAdapter = folded('more-adapter', 'More adapter settings', rowGroup(
    choiceRow('Initialization', ['lora', 'init_lora_weights'], edit),
    choiceRow('Train biases', ['lora', 'bias'], edit),
    boxRow('Rank-stabilized (rsLoRA)', ['lora', 'use_rslora'], edit),
    boxRow('Weight-decomposed (DoRA)', ['lora', 'use_dora'], edit),
  ));
  const more = folded('more-settings', 'More settings',
    subgroup('Examples and memory',
      textRow('Max. length', ['training', 'max_length'], edit),
      textRow('Accumulation steps', ['training', 'gradient_accumulation_steps'], edit),
      boxRow('Gradient checkpointing', ['training', 'gradient_checkpointing'], edit),
      boxRow('Pack short examples', ['training', 'packing'], edit),
      boxRow('Shuffle examples', ['training', 'shuffle'], edit),
    ),
    subgroup('Evaluation and checkpoints',
      choiceRow('Evaluate', ['training', 'eval_strategy'], edit),
      textRow('Evaluation steps', ['training', 'eval_steps'], edit),
      choiceRow('Save checkpoints', ['training', 'save_strategy'], edit),
      textRow('Checkpoint steps', ['training', 'save_steps'], edit),
      textRow('Logging steps', ['training', 'logging_steps'], edit),
    ),
    subgroup('Optimizer',
      textRow('Max. steps', ['training', 'max_steps'], edit),
      choiceRow('Scheduler', ['training', 'lr_scheduler_type'], edit),
      textRow('Warm-up steps', ['training', 'warmup_steps'], edit),
      textRow('Weight decay', ['training', 'weight_decay'], edit),
      textRow('Max. gradient norm', ['training', 'max_grad_norm'], edit),
      textRow('Seed', ['training', 'seed'], edit),
    ),
  );
  const folds = [moreOfAdapter, more];
  const rows = [...sources, ...adapter, ...moreOfAdapter.rows, ...training, ...more.rows];
  const shown = new Set([...rows.map(row => keyOf(row.path)), TARGETS_KEY]);
  const targets = targetsBox(host);
  const cost = costBox(host);
  const problems = problemList(host, shown);
  const preview = h('button', { type: 'button', class: 'link', 'data-action': 'previewData', title: 'The first examples as the model will read them, what of them is learned, and how many are cut' }, 'Preview data');
  preview.addEventListener('click', () => host.act('previewData'));
  const fixedText = h('span', {});
  const fixed = h('p', { class: 'fixed', id: 'settings-fixed', hidden: true }, drawn('lock'), fixedText);

  return {
    element: h('section', { class: 'settings', id: 'settings', 'aria-label': 'Settings' },
      fixed, problems.element,
      group('Model and data', ...sources.map(row => row.element), preview),
      group('Adapter', ...adapter.map(row => row.element), moreOfAdapter.element), cost.element,
      targets.element,
      group('Training', ...training.map(row => row.element), more.element)),
    update(view) {
      if (!view.values) return;
      const why = settingsFixed(view.run);
      show(fixed, why !== undefined);
      if (why) setText(fixedText, formatReport(why));
      problems.update(view);
      rank.setStops(rankStops(highestRank(view)));
      alpha.setStops(rankStops(2 * highestRank(view)));
      const { byKey } = sortProblems(view.experiment?.problems ?? [], shown);
      show(moreOfAdapter.element, view.values.lora.full !== true);
      for (const fold of folds) fold.mark(fold.rows.some(row => byKey.has(keyOf(row.path)) || conflict(row, view) !== undefined));
      for (const row of rows) {
        const problem = byKey.get(keyOf(row.path));
        const failure = view.edits.failure(row.path);
        // The file's problem is about its old value while a new one is on its way.
        const wrong = failure ? `not saved: ${failure.cause}` : problem && !view.edits.has(row.path) ? problemText(problem) : conflict(row, view);
        const hidden = wrong === undefined && !applies(row, view.values);
        show(row.element, !hidden);
        row.update({ file: view.experiment?.file ?? '', value: valueAt(view.values, row.path), disabled: view.active || hidden || wholeModel(row, view), problem: wrong, note: noteOf(row, view) });
      }
      targets.update(view);
      cost.update(view);
    },
    wrong() {
      const row = rows.find(each => each.wrong?.());
      const wrong = row?.wrong?.();
      if (!wrong) return undefined;
      const { name, path, text, give } = wrong;
      return {
        report: { code: 'panel.wrong-field', where: keyOf(path), cause: text ? `${name} cannot be “${text}”` : `${name} is blank`, action: give },
        show() {
          for (const fold of folds) if (fold.rows.includes(row!)) fold.element.open = true;
          wrong.focus();
        },
      };
    },
  };
}

function group(title: string, ...children: HTMLElement[]): HTMLElement {
  return h('div', { class: 'card' }, h('h2', {}, title), h('div', { class: 'rows' }, ...children));
}

interface RowGroup { element: HTMLElement; rows: Row[] }

const rowGroup = (...rows: Row[]): RowGroup => ({ element: h('div', { class: 'subgroup' }, ...rows.map(row => row.element)), rows });

/** Settings below a heading of their own. */
function subgroup(heading: string, ...rows: Row[]): RowGroup {
  const { element } = rowGroup(...rows);
  setAttributes(element, { role: 'group', 'aria-label': heading });
  element.prepend(h('h3', {}, heading));
  return { element, rows };
}

interface Fold { element: HTMLDetailsElement; rows: Row[]; mark(marked: boolean): void }

/** Settings that are changed less often, folded away. Those of which one is marked can be seen, until the person closes them. */
function folded(id: string, title: string, ...groups: RowGroup[]): Fold {
  const element = h('details', { class: 'more', id }, h('summary', {}, title), h('div', { class: 'rows' }, ...groups.map(group => group.element)));
  let was = false;
  return {
    element, rows: groups.flatMap(group => group.rows),
    mark(marked) {
      if (marked && !was) element.open = true;
      was = marked;
    },
  };
}

/** True for what means nothing where the whole model is trained. */
const wholeModel = (row: Row, { values }: View): boolean => row.path[0] === 'lora' && values?.lora.full === true;

/** A rank that a matrix is too small for: that of the slider, or one of `rank_pattern`, which has no control of its own. */
function rankProblem({ cost, values }: View): string | undefined {
  // The rank of an adapter that is trained on is given.
  if (values && values.lora.init_adapter !== null) return undefined;
  if (!cost) return undefined;
  const { adapters, rank_limit } = cost.count;
  const { r } = values!.lora;
  if (rank_limit > 0 && r > rank_limit) return `is ${r}: give at most ${rank_limit}, the smallest dimension of the matrices that get this rank`;
  const over = adapters.find(adapter => adapter.r > rankLimit(adapter));
  return over && `rank_pattern gives ${over.name} ${over.r}: give at most ${rankLimit(over)}, the smaller dimension of its matrix`;
}

/** Whether a setting means anything beside the others as they are. */
function applies({ path: [, key] }: Row, { task, training }: ExperimentValues): boolean {
  if (key === 'eval_steps') return training.eval_strategy === 'steps';
  if (key === 'save_steps') return training.save_strategy === 'steps';
  return key !== 'packing' || task === 'CAUSAL_LM';
}

/** What a run would be refused for: settings that do not go together, though each is right by itself. */
function conflict(row: Row, view: View): string | undefined {
  const { task, lora, training, engine } = view.values!;
  const rounded = lora.use_dora && (engine.precision === 'int8' || engine.precision === 'int4');
  switch (keyOf(row.path)) {
    case 'lora.r': return rankProblem(view);
    case 'lora.use_dora':
      if (lora.lora_bias) return 'cannot be used with lora_bias: turn one of the two off';
      return rounded ? `cannot be used with base weights in ${engine.precision}, as it needs their exact rows: turn it off, or take fp32` : undefined;
    case 'lora.init_lora_weights': return startProblem(view);
    case 'engine.precision': return rounded ? 'cannot be used with DoRA, which needs the exact rows: take fp32, or turn DoRA off' : undefined;
    case 'training.packing': return training.packing && task !== 'CAUSAL_LM' ? `is not used by ${task}: turn it off` : undefined;
    default: return undefined;
  }
}

/** A start from the base weights that cannot be had, or be saved as a plain LoRA of twice the rank. */
function startProblem({ cost, values }: View): string | undefined {
  const { init_lora_weights, init_adapter, use_dora, r } = values!.lora;
  if (!/^(pissa|olora)/.test(String(init_lora_weights))) return undefined;
  if (init_adapter !== null) return 'cannot be used with init_adapter, which brings its own start: take true';
  if (use_dora) return 'cannot be used with DoRA: take true, or turn DoRA off';
  const highest = Math.floor((cost?.count.rank_limit || Infinity) / 2);
  return r > highest ? `is saved with twice the rank: give a rank of at most ${highest}, or take true` : undefined;
}

/** What is to be known of a setting with which nothing is wrong. */
function noteOf(row: Row, view: View): string | undefined {
  const { lora, training, dataset } = view.values!;
  const key = keyOf(row.path);
  if (wholeModel(row, view)) return key === 'lora.r' ? WHOLE_MODEL : undefined;
  switch (key) {
    case 'lora.lora_alpha': return scalingNote(view);
    case 'lora.init_lora_weights': return lora.init_adapter === null ? undefined : 'Ignored: init_adapter is set';
    case 'training.num_train_epochs': return training.max_steps > 0 ? 'Ignored: max. steps is set' : undefined;
    case 'training.gradient_checkpointing': return view.cost && recomputationNote(view.cost.memory.recomputed);
    case 'training.eval_strategy': return dataset.eval === null ? 'There is no evaluation data (dataset.eval)' : undefined;
    case 'training.eval_steps': return training.eval_steps === null ? `As logging steps: ${training.logging_steps}` : undefined;
    default: return undefined;
  }
}

const recomputationNote = (bytes: number): string => (bytes < 1e6 ? 'Saves no memory with these settings' : `Saves about ${roughBytes(bytes)}, takes a third more time`);

function scalingNote({ values }: View): string {
  const { r, lora_alpha, use_rslora } = values!.lora;
  return `Scaling lora_alpha / ${use_rslora ? '√' : ''}r = ${formatNumber(scalingOf(lora_alpha, r, use_rslora))}`;
}

/** Problems of the file that concern no control, each with a link to its place. */
function problemList(host: Host, shown: ReadonlySet<string>): Part {
  const title = h('h2', {});
  const list = h('ul', {});
  let drawnFor = '';
  const element = h('div', { class: 'card notice warning', id: 'problems', role: 'group', 'aria-label': 'Problems of the experiment file', hidden: true },
    h('div', { class: 'notice-title' }, drawn('warning'), title), list);
  return {
    element,
    update({ experiment }) {
      const problems = experiment?.problems ?? [];
      const { rest } = sortProblems(problems, shown);
      show(element, problems.length > 0);
      const key = JSON.stringify([problems, experiment?.file]);
      if (key === drawnFor) return;
      drawnFor = key;
      setText(title, problems.length === 1 ? '1 problem in the experiment file' : `${problems.length} problems in the experiment file`);
      const besides = problems.length - rest.length;
      list.replaceChildren(
        ...rest.map(problem => {
          const place = keyOf(problem.path) || experiment!.name;
          const link = h('button', { type: 'button', class: 'link code' }, place);
          link.addEventListener('click', () => host.open(experiment!.file, keyOf(problem.path) || undefined));
          return h('li', {}, link, ` ${problem.cause}: ${problem.action}`);
        }),
        ...besides > 0 ? [h('li', {}, rest.length ? `${besides} more beside the control${besides === 1 ? '' : 's'} below` : `Marked beside the control${besides === 1 ? '' : 's'} below`)] : [],
      );
    },
  };
}

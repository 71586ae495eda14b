/** The settings column: adapter, target modules, cost, training. Each control edits one key of the experiment file. */
import { rankLimit, scalingOf } from '../src/protocol/adapterMath';
import type { ErrorReport } from '../src/protocol/engine';
import { formatReport, settingsFixed } from '../src/protocol/panel';
import { WHOLE_MODEL } from './actions';
import { costBox } from './costBox';
import { h, setText, show } from './dom';
import { boxRow, choiceRow, sliderRow, textRow, type Edit, type Row } from './fields';
import { formatNumber } from './format';
import { drawn } from './icons';
import { decades, doublings, evenly, rankStops } from './ranges';
import { keyOf, problemText, sortProblems, valueAt } from './settingsForm';
import { targetsBox, TARGETS_KEY } from './targetsBox';
import type { Host, Part, View } from './view';

/** Where the base model is not known yet, sliders reach as far as usual ranks. */
const USUAL_RANK_LIMIT = 256;

/** The highest rank on the slider. */
const highestRank = (view: View): number => view.cost?.count.rank_limit || USUAL_RANK_LIMIT;

/** The whole column, and what is wrong with the first field whose text cannot be used; the cursor is put into it. */
export function controls(host: Host): Part & { wrong(): ErrorReport | undefined } {
  const edit: Edit = (path, value) => host.edit([{ path, value }]);
  const rank = sliderRow('Rank', ['lora', 'r'], rankStops(USUAL_RANK_LIMIT), edit);
  const alpha = sliderRow('Alpha', ['lora', 'lora_alpha'], rankStops(2 * USUAL_RANK_LIMIT), edit);
  const epochs = sliderRow('Epochs', ['training', 'num_train_epochs'], [1, 2, 3, 4, 5, 6, 8, 10, 15, 20], edit);
  const training: Row[] = [
    sliderRow('Learning rate', ['training', 'learning_rate'], decades(-6, -2), edit),
    sliderRow('Batch size', ['training', 'per_device_train_batch_size'], doublings(1, 256), edit),
    epochs,
    choiceRow('Device', ['engine', 'device'], edit),
    choiceRow('Base weights', ['engine', 'precision'], edit),
  ];
  const evaluate = choiceRow('Evaluate', ['training', 'eval_strategy'], edit);
  const more: Row[] = [
    textRow('Max. length', ['training', 'max_length'], edit),
    textRow('Max. steps', ['training', 'max_steps'], edit),
    textRow('Accumulation steps', ['training', 'gradient_accumulation_steps'], edit),
    choiceRow('Scheduler', ['training', 'lr_scheduler_type'], edit),
    textRow('Warm-up steps', ['training', 'warmup_steps'], edit),
    textRow('Weight decay', ['training', 'weight_decay'], edit),
    textRow('Max. gradient norm', ['training', 'max_grad_norm'], edit),
    evaluate,
    choiceRow('Save checkpoints', ['training', 'save_strategy'], edit),
    textRow('Seed', ['training', 'seed'], edit),
    boxRow('Shuffle examples', ['training', 'shuffle'], edit),
  ];
  const adapter: Row[] = [rank, alpha, sliderRow('Dropout', ['lora', 'lora_dropout'], evenly(0.5, 20), edit)];
  const rows = [...adapter, ...training, ...more];
  const shown = new Set([...rows.map(row => keyOf(row.path)), TARGETS_KEY]);
  const targets = targetsBox(host);
  const cost = costBox(host);
  const problems = problemList(host, shown);
  const fixedText = h('span', {});
  const fixed = h('p', { class: 'fixed', id: 'settings-fixed', hidden: true }, drawn('lock'), fixedText);
  const moreBox = h('details', { class: 'more', id: 'more-settings' }, h('summary', {}, 'More settings'), h('div', { class: 'rows' }, ...more.map(row => row.element)));
  let marked = false;

  return {
    element: h('section', { class: 'settings', id: 'settings', 'aria-label': 'Settings' },
      fixed, problems.element,
      group('Adapter', ...adapter.map(row => row.element)), cost.element,
      targets.element,
      group('Training', ...training.map(row => row.element), moreBox)),
    update(view) {
      if (!view.values) return;
      const why = settingsFixed(view.run);
      show(fixed, why !== undefined);
      if (why) setText(fixedText, formatReport(why));
      problems.update(view);
      rank.setStops(rankStops(highestRank(view)));
      alpha.setStops(rankStops(2 * highestRank(view)));
      const { byKey } = sortProblems(view.experiment?.problems ?? [], shown);
      // What is marked in there can be seen, until the person closes it.
      const marks = more.some(row => byKey.has(keyOf(row.path)));
      if (marks && !marked) moreBox.open = true;
      marked = marks;
      for (const row of rows) {
        const problem = byKey.get(keyOf(row.path));
        const failure = view.edits.failure(row.path);
        row.update({
          file: view.experiment?.file ?? '', value: valueAt(view.values, row.path), disabled: view.active || wholeModel(row, view),
          // The file's problem is about its old value while a new one is on its way.
          problem: failure ? `not saved: ${failure.cause}` : problem && !view.edits.has(row.path) ? problemText(problem) : row === rank ? rankProblem(view) : undefined,
          note: row === alpha && !wholeModel(row, view) ? scalingNote(view) : wholeModel(row, view) ? (row === rank ? WHOLE_MODEL : undefined) : row === epochs && view.values.training.max_steps > 0 ? 'Ignored: max. steps is set' : row === evaluate && view.values.dataset.eval === null ? 'There is no evaluation data (dataset.eval)' : undefined,
        });
      }
      targets.update(view);
      cost.update(view);
    },
    wrong() {
      const row = rows.find(each => each.wrong?.());
      const wrong = row?.wrong?.();
      if (!wrong) return undefined;
      if (more.includes(row!)) moreBox.open = true;
      wrong.focus();
      const { name, path, text, give } = wrong;
      return { code: 'panel.wrong-field', where: keyOf(path), cause: text ? `${name} cannot be “${text}”` : `${name} is blank`, action: give };
    },
  };
}

function group(title: string, ...children: HTMLElement[]): HTMLElement {
  return h('div', { class: 'card' }, h('h2', {}, title), h('div', { class: 'rows' }, ...children));
}

/** True for what means nothing where the whole model is trained. */
const wholeModel = (row: Row, { values }: View): boolean => row.path[0] === 'lora' && values?.lora.full === true;

/** A rank that a matrix is too small for: that of the slider, or one of `rank_pattern`, which has no control of its own. */
function rankProblem({ cost, values }: View): string | undefined {
  if (!cost) return undefined;
  const { adapters, rank_limit } = cost.count;
  const { r } = values!.lora;
  if (rank_limit > 0 && r > rank_limit) return `is ${r}: give at most ${rank_limit}, the smallest dimension of the matrices that get this rank`;
  const over = adapters.find(adapter => adapter.r > rankLimit(adapter));
  return over && `rank_pattern gives ${over.name} ${over.r}: give at most ${rankLimit(over)}, the smaller dimension of its matrix`;
}

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
        ...besides > 0 ? [h('li', {}, rest.length ? `${besides} more beside the control${besides === 1 ? '' : 's'} below` : 'Marked beside the control below')] : [],
      );
    },
  };
}

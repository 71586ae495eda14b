/** The training loop: as Hugging Face's Trainer orders steps, logging, evaluation and saving. */
import { basename } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { StopRequested, type RunControl, type Wanted } from './control';
import { epochBatches } from './data/batches';
import { LabError } from './errors';
import { spaceFor, withRoom } from './fullDisk';
import { evaluateWriting } from './generation/evaluateWriting';
import { writeAdapter, type AdapterContent } from './model/adapter';
import { writeModel } from './model/trainedModel';
import { peakMemory } from './peakMemory';
import { PendingCheckpoint } from './pendingCheckpoint';
import { examplesIn, rowsOf, type Prepared } from './prepare';
import type { Reporter } from './reporter';
import type { RunFolder } from './runFolder';
import { checkpointValues, writeState, type TrainerState } from './trainerState';
import type { Peaks } from './telemetry';
import { evaluate } from './training/evaluate';
import { checkpointed, judge, NONE_YET, stopsEarly } from './training/bestModel';
import { planSchedule, type Schedule } from './training/schedule';
import { tokensOf, type TrainingStep } from './training/step.types';
import type { Experiment } from '../protocol/experiment';
import { evalMetrics, isEvalRecord, type EvalResult, type MetricRecord, type Summary } from '../protocol/metrics';
import { savingsOf } from '../protocol/savings';

export interface TrainerOptions {
  experiment: Experiment;
  prepared: Prepared;
  step: TrainingStep;
  state: TrainerState;
  control: RunControl;
  report: Reporter;
  /** Measured by the main thread. */
  peaks?: Peaks;
  /** Folder of the checkpoint that the run goes on from. */
  resumed_from?: string;
}

/** Trained values of a checkpoint that is forced to the disk beside the next steps, with its two moments: 200 MB. */
const MOST_PENDING = 1 << 24;

/** What the run says that it does, once it has saved. */
const GOING = { run: 'running', pause: 'paused', stop: 'stopping' } as const satisfies Record<Wanted, string>;

export class Trainer {
  private readonly schedule: Schedule;
  private readonly state: TrainerState;
  /** When the part of the run that is going on began, less the seconds of the parts before it. */
  private begun: number;
  /** The state of the run at the last values that a finite loss was computed with, which the step has marked. */
  private good: TrainerState | undefined;
  /** Folder of the newest checkpoint that is on the disk, and the step it belongs to. */
  private saved: { step: number; folder: string } | undefined;
  /** Folder of the checkpoint that the run went on from. */
  private resumed_from: string | undefined;
  /** The checkpoint that is on its way there while the next steps are computed: one at a time. */
  private pending: PendingCheckpoint | undefined;

  constructor(private readonly options: TrainerOptions) {
    this.state = { ...options.state, unlogged: { ...options.state.unlogged }, best: options.state.best ?? NONE_YET };
    this.schedule = planSchedule(rowsOf(options.prepared), options.experiment.training);
    this.begun = performance.now() - 1000 * this.state.seconds;
    this.resumed_from = options.resumed_from;
  }

  /** Trains until the last step or until a stop is asked for, and saves the adapter. */
  async train(folder: RunFolder): Promise<Summary> {
    const { state, schedule, options: { experiment: { training }, prepared, control } } = this;
    let stopped = false;
    try {
      if (state.step === 0 && training.eval_strategy !== 'no') state.eval_before ??= await this.evaluate();
      // A run that was stopped during an evaluation catches up on it.
      if (this.owesEvaluation()) {
        await this.evaluateAndLog(folder);
        if (this.due('save', state.step)) await this.saveDue(folder);
      }
      this.options.report.state({ state: 'running' });
      while (this.goesOn()) {
        const epoch = Math.floor(state.step / schedule.steps_per_epoch);
        const batches = epochBatches(rowsOf(prepared), training.per_device_train_batch_size, { seed: training.seed, epoch, shuffle: training.shuffle });
        const begin = (state.step % schedule.steps_per_epoch) * training.gradient_accumulation_steps;
        for (let first = begin; first < batches.length && this.goesOn(); first += training.gradient_accumulation_steps) {
          await this.heedRequests(folder);
          await this.trainStep(batches.slice(first, first + training.gradient_accumulation_steps), epoch + Math.min(first + training.gradient_accumulation_steps, batches.length) / batches.length, folder);
          if (this.due('eval', state.step)) await this.evaluateAndLog(folder);
          if (this.due('save', state.step)) await this.saveDue(folder);
          await turn();
        }
      }
    } catch (error) {
      if (!(error instanceof StopRequested)) {
        try { folder.writeMetrics(); } catch { /* likewise */ }
        await this.durable().catch(() => { /* the first error is the one to report */ });
        throw this.withCheckpoint(error);
      }
      stopped = true;
    }
    return this.finish(folder, stopped && control.wanted === 'stop' && (state.step < schedule.total_steps || this.owesEvaluation()) ? 'stopped' : 'finished');
  }

  /** Whether the evaluation that is due after this step has not been made. */
  private owesEvaluation(): boolean { const { state } = this; return state.step > 0 && state.evaluated < state.step && this.due('eval', state.step); }

  private goesOn(): boolean { return this.state.step < this.schedule.total_steps && !stopsEarly(this.state.best, this.options.prepared.rule); }

  /** One optimizer step over the batches of an accumulation window: numbers of examples, or of rows that hold several. `epoch` is the place after it. */
  private async trainStep(window: Uint32Array[], epoch: number, folder: RunFolder): Promise<void> {
    const { state, schedule, options: { prepared, step: compiled, control, experiment: { training } } } = this;
    const begun = performance.now();
    const number = state.step + 1;
    const batches = window.map(batch => Array.from(examplesIn(prepared, batch), i => prepared.train.get(i)));
    const count = batches.reduce((sum, examples) => sum + compiled.count(examples), 0);
    let loss = 0, tokens = 0;
    for (const [micro_step, examples] of batches.entries()) {
      // Normalised over all examples or targets of the whole window, so that it equals one large batch.
      const result = await compiled.accumulate(examples, 1 / Math.max(1, count), { seed: training.seed, step: number, micro_step });
      loss += result.loss;
      for (const example of examples) tokens += tokensOf(example);
      if (!Number.isFinite(loss)) await this.diverged(folder, 'loss', { loss, grad_norm: NaN }, number, epoch);
      // The step's gradient would be lost with a pause here, so only a stop cuts it short.
      if (micro_step < window.length - 1) { await turn(); control.throwIfStopped(); }
    }
    this.good = structuredClone(state);
    compiled.mark();
    const learning_rate = schedule.learningRate(number);
    const { grad_norm } = await compiled.update({ learning_rate, step: number });
    if (!Number.isFinite(grad_norm)) await this.diverged(folder, 'gradient norm', { loss, grad_norm }, number, epoch);

    state.step = number;
    state.loss_sum += loss;
    state.tokens += tokens;
    state.unlogged.steps++;
    state.unlogged.loss_sum += loss;
    state.unlogged.tokens += tokens;
    state.unlogged.seconds += (performance.now() - begun) / 1000;
    const { logging_steps } = training;
    if (number % logging_steps === 0 || number === schedule.total_steps) await this.log(folder, { epoch, grad_norm, learning_rate });
  }

  private async log(folder: RunFolder, { epoch, grad_norm, learning_rate }: { epoch: number; grad_norm: number; learning_rate: number }): Promise<void> {
    const { unlogged, step, tokens } = this.state;
    await this.record(folder, {
      step, epoch, loss: unlogged.loss_sum / unlogged.steps, grad_norm, learning_rate, tokens,
      tokens_per_second: unlogged.tokens / Math.max(unlogged.seconds, 1e-9), time: this.seconds(),
    });
    this.state.unlogged = { steps: 0, loss_sum: 0, tokens: 0, seconds: 0 };
  }

  /** Writes what is known, keeps the last good weights, takes a checkpoint of later ones out of the way of whoever goes on, and ends the run. */
  private async diverged(folder: RunFolder, what: string, { loss, grad_norm }: { loss: number; grad_norm: number }, step: number, epoch: number): Promise<never> {
    const learning_rate = this.schedule.learningRate(step);
    await this.record(folder, {
      step, epoch, loss: Number.isFinite(loss) ? loss : String(loss), grad_norm: String(grad_norm), learning_rate,
      tokens: this.state.tokens, tokens_per_second: 0, time: this.seconds(),
    });
    const { good, resumed_from } = this;
    const reached = this.state.step;
    // That the run has diverged is what a person must hear.
    const warn = (error: unknown): void => this.options.report.log({ level: 'warn', message: error instanceof Error ? error.message : String(error) });
    await this.settle(folder).catch(warn);
    if (good?.step !== reached) try { this.setAside(folder, reached); } catch (error) { warn(error); }
    if (good) {
      this.options.step.goBack();
      Object.assign(this.state, good);
      await this.save(folder);
      await this.writeResult(folder, this.content((await this.options.step.state()).trainables));
    }
    const kept = good ? `the weights after step ${good.step}, the last that gave a finite loss, are in ${this.options.prepared.plan.full ? folder.model : folder.adapter}`
      : resumed_from && reached > 0 ? `the weights of ${basename(resumed_from)}, which the run went on from, give no finite loss` : 'no step was finished';
    throw new LabError({
      code: 'training.not-finite', file: folder.path, where: `step ${step}`, cause: `the ${what} became ${Number.isFinite(loss) ? grad_norm : loss}; ${kept}`,
      action: good || reached > 0 ? 'lower learning_rate or lora_alpha, or set max_grad_norm, and start again' : 'check the base weights and the data for values that are not numbers, and lower learning_rate',
      lastGoodCheckpoint: this.lastGood,
    });
  }

  /** The checkpoint of a step, if there is one, is none to go on from: its weights give no finite loss. */
  private setAside(folder: RunFolder, step: number): void {
    folder.setAside(step);
    const found = folder.latestCheckpoint();
    this.saved = found.folder === null ? undefined : found;
    this.resumed_from = undefined;
  }

  private async evaluate(): Promise<EvalResult | null> {
    const { prepared, step, experiment, report, control } = this.options;
    const set = prepared.eval;
    if (!set) return null;
    report.state({ state: 'evaluating' });
    const result = await evaluate(step, set, prepared.model, experiment.training.per_device_eval_batch_size, done => {
      report.progress({ message: 'Evaluating', fraction: done / set.length });
      control.throwIfStopped();
    });
    const written = prepared.writing && await evaluateWriting(
      { model: prepared.model, plan: prepared.plan, trainables: (await step.state()).trainables, device: experiment.engine.device, precision: experiment.engine.precision, savings: savingsOf(experiment.engine), threads: experiment.engine.threads }, set, prepared.writing, experiment.training.per_device_eval_batch_size,
      done => {
        report.progress({ message: 'Evaluating what is written', fraction: done });
        control.throwIfStopped();
      });
    report.state({ state: 'running' });
    return { ...result, ...written };
  }

  private async evaluateAndLog(folder: RunFolder): Promise<void> {
    const begun = performance.now();
    await this.writeLog(folder);
    const result = await this.evaluate();
    if (!result) return;
    this.state.eval = result;
    this.state.evaluated = this.state.step;
    this.state.best = judge(this.state.best, this.options.prepared.rule, result, this.state.step);
    await this.record(folder, {
      step: this.state.step, epoch: this.epoch(), ...evalMetrics(result), eval_runtime: (performance.now() - begun) / 1000, time: this.seconds(),
    });
  }

  /** Whether Trainer would evaluate or save after this step. */
  private due(what: 'eval' | 'save', step: number): boolean {
    const { training } = this.options.experiment;
    const last = step === this.schedule.total_steps;
    const strategy = what === 'eval' ? training.eval_strategy : training.save_strategy;
    if (strategy === 'epoch') return step % this.schedule.steps_per_epoch === 0 || last;
    if (strategy === 'steps') return step % (what === 'eval' ? training.eval_steps ?? training.logging_steps : training.save_steps) === 0 || (what === 'save' && last);
    return false;
  }

  /** Between steps: saves on request, waits while paused, throws StopRequested on a stop. */
  private async heedRequests(folder: RunFolder): Promise<void> {
    const { control, report } = this.options;
    for (let paused = false; ;) {
      if (this.pending?.ended || control.asked) await this.settle(folder);
      if (control.asked) await this.writeLog(folder);
      for (const request of control.takeSaves()) await this.save(folder).then(request.done, request.failed);
      control.throwIfStopped();
      if (control.wanted === 'run') {
        if (paused) report.state({ state: 'running' });
        return;
      }
      const waiting = control.changed();
      if (!paused) report.state({ state: 'paused' });
      paused = true;
      const since = performance.now();
      await waiting;
      // A pause is no training time.
      this.begun += performance.now() - since;
    }
  }

  /** A checkpoint that the run itself wants, which reaches the disk beside the next steps: where somebody watches, a full disk does not end the run. */
  private async saveDue(folder: RunFolder): Promise<void> {
    await this.settle(folder);
    if (this.isSaved) return;
    await this.patiently(folder, `checkpoint-${this.state.step}`, () => this.write(folder));
    // Many values would take too much memory beside the next step, and who has asked for something waits for what is on the disk.
    if (this.options.prepared.plan.trainable_parameters > MOST_PENDING || this.options.control.asked) await this.settle(folder);
    this.goOn();
  }

  /** Waits until the last checkpoint is on the disk. Where that failed for want of room, the same is written again. */
  private async settle(folder: RunFolder): Promise<void> {
    if (this.pending) await this.patiently(folder, `checkpoint-${this.pending.step}`, () => this.durable(), this.pending.step).finally(() => { this.pending = undefined; });
  }

  private async durable(): Promise<void> {
    const { pending } = this;
    if (pending) this.saved = { step: pending.step, folder: await pending.durable() };
  }

  private async patiently(folder: RunFolder, what: string, write: () => unknown, step = this.state.step): Promise<void> {
    const { control, report, prepared: { plan } } = this.options;
    const bytes = spaceFor(plan.trainable_parameters);
    const { waited_ms } = await withRoom(write, { folder: folder.path, control, report, what, where: `step ${step}`, bytes, lastGoodCheckpoint: this.lastGood });
    this.begun += waited_ms;
    if (waited_ms > 0) report.state({ state: GOING[control.wanted] });
  }

  private get isSaved(): boolean { return this.saved?.step === this.state.step; }

  /** Saves a checkpoint of this step, unless there is one, and waits until it is on the disk. */
  private async save(folder: RunFolder): Promise<string> {
    if (this.isSaved) return this.saved!.folder;
    try {
      await this.write(folder);
      await this.durable();
      return this.saved!.folder;
    } finally {
      this.pending = undefined;
      this.goOn();
    }
  }

  /** The state after a save. */
  private goOn(): void { this.options.report.state({ state: this.pending ? 'running' : GOING[this.options.control.wanted] }); }

  /** Writes the files of a checkpoint of this step. No other may be pending. */
  private async write(folder: RunFolder): Promise<void> {
    const { step, report } = this.options;
    report.state({ state: 'saving' });
    this.state.seconds = this.seconds();
    if (this.state.eval && this.state.evaluated === this.state.step) this.state.best = checkpointed(this.state.best, this.options.prepared.rule, this.state.eval, this.state.step);
    const { trainables, ...moments } = await step.state();
    const [content, state] = [this.content(trainables), structuredClone(this.state)];
    this.pending = await PendingCheckpoint.of(state.step, () => folder.writeCheckpoint(state.step, temporary => writeState(temporary, content, moments, state)));
  }

  private async finish(folder: RunFolder, outcome: Summary['state']): Promise<Summary> {
    const { state, options: { prepared: { plan }, step, control, report } } = this;
    await this.writeLog(folder);
    if (outcome === 'stopped') {
      report.state({ state: 'stopping' });
      await this.saveDue(folder);
    }
    await this.settle(folder);
    const best = outcome === 'finished' && this.options.prepared.rule.load ? this.bestValues(folder) : null;
    const content = this.content(best ?? (await step.state()).trainables);
    await this.patiently(folder, plan.full ? 'the model' : 'the adapter', () => this.writeResult(folder, content));
    for (const request of control.takeSaves()) await this.save(folder).then(request.done, request.failed);
    const summary: Summary = {
      state: outcome, steps: state.step, epochs: this.epoch(), trainable_parameters: plan.trainable_parameters, all_parameters: plan.all_parameters,
      train_loss: state.loss_sum / Math.max(1, state.step), eval_before: state.eval_before, eval: best ? state.best.saved!.eval : state.eval, device: step.device, precision: this.options.experiment.engine.precision, ...(state.first_step ? { first_step: state.first_step } : {}), seconds: this.seconds(),
      ...peakMemory(), ...this.options.peaks?.summary(), adapter: plan.full ? folder.model : folder.adapter, ...(plan.full ? { full_finetuning: true as const } : {}),
      ...(best ? { best: { step: state.best.saved!.step, metric: this.options.prepared.rule.metric, value: state.best.saved!.value } } : {}),
      ...(stopsEarly(state.best, this.options.prepared.rule) ? { stopped_early: true } : {}),
    };
    await this.patiently(folder, 'the summary', () => folder.writeSummary(summary));
    return summary;
  }

  /** The adapter, or the whole model if it is trained. */
  private async writeResult(folder: RunFolder, content: AdapterContent): Promise<void> {
    if (content.plan.full) await writeModel(folder.model, content.model, content);
    else await writeAdapter(folder.adapter, content);
  }

  /** Trained values of the best checkpoint; null, with a warning, if there is none, or if it is no longer there as it was written. */
  private bestValues(folder: RunFolder): Float32Array | null {
    const { state: { best: { saved } }, options: { prepared: { plan, model, rule }, report } } = this;
    if (!saved) {
      report.log({ level: 'warn', message: `${plan.full ? 'the model' : 'the adapter'} of the last step is saved, because no checkpoint is of a step whose evaluation gave eval_${rule.metric}` });
      return null;
    }
    try {
      return checkpointValues(folder.checkpoint(saved.step), plan, model);
    } catch (error) {
      if (!(error instanceof LabError)) throw error;
      report.log({ level: 'warn', message: `the adapter of the last step is saved, because the best checkpoint, of step ${saved.step}, cannot be read: ${error.report.cause}` });
      return null;
    }
  }

  private content(trainables: Float32Array): AdapterContent {
    const { prepared: { model, plan }, experiment: { lora } } = this.options;
    return { model, plan, lora, trainables, labels: model.labels };
  }

  private async record(folder: RunFolder, record: MetricRecord): Promise<void> {
    if (folder.appendMetrics(record) || isEvalRecord(record)) await this.writeLog(folder);
    this.options.report.metrics({ records: [record] });
  }

  /** Writes what waits: before anything that takes longer than a step. */
  private async writeLog(folder: RunFolder): Promise<void> { await this.patiently(folder, 'the log', () => folder.writeMetrics()); }

  private withCheckpoint(error: unknown): unknown {
    if (!(error instanceof LabError) || !this.lastGood || error.report.lastGoodCheckpoint) return error;
    return new LabError({ ...error.report, lastGoodCheckpoint: this.lastGood }, { cause: error.cause });
  }

  /** Folder of the newest checkpoint that the run can go on from. */
  private get lastGood(): string | undefined { return this.saved?.folder ?? this.resumed_from; }

  private epoch(): number {
    const { step } = this.state;
    const { batches_per_epoch, steps_per_epoch } = this.schedule;
    const within = (step % steps_per_epoch) * this.options.experiment.training.gradient_accumulation_steps;
    return Math.floor(step / steps_per_epoch) + Math.min(within, batches_per_epoch) / batches_per_epoch;
  }

  private seconds(): number { return (performance.now() - this.begun) / 1000; }
}

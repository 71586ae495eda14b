/** Several experiments on one base and one data set in one process: one program, one base in memory, frozen layers computed once for all. */
import { join } from 'node:path';
import { RunControl, StopRequested } from './control';
import { momentOf, stamp } from './data/strftime';
import { LabError } from './errors';
import { readExperimentFile, type ExperimentFile } from './experimentFile';
import { lookUp, readJsonObject } from './files';
import { withRoom } from './fullDisk';
import { GpuMemory } from './gpuMemory';
import { planAdapter } from './model/lora';
import { peakMemory } from './peakMemory';
import { keepPrefix } from './prefixCache';
import { prepare, prepareVariant, rowsOf, type Prepared } from './prepare';
import { release } from './release';
import { folderToResume, newFolder, refuseInputs, withPlace, type RunOptions } from './run';
import { compareFirstStep, exactStep } from './roundingDifference';
import { openSweepFolder, type SweepFolder } from './sweepFolder';
import { Member } from './sweepMember';
import { evaluate } from './training/evaluate';
import { planSchedule } from './training/schedule';
import { createSharedSteps } from './training/step';
import type { Summary, SweepMember, SweepSummary } from '../protocol/metrics';
import { savingsOf } from '../protocol/savings';
import { stepOptions } from './stepOptions';
import { memberExperiment, memberName, rungs, type Sweep } from '../protocol/sweep';

/**
 * Trains every member of the experiment's sweep, each as an ordinary run in a folder below the sweep's, and ranks them. With halving the
 * members take turns up to each comparison. A member that diverges has failed; the others go on. With `resume`, members that have ended are kept.
 * Errors: those of a run, `sweep.none`, `sweep.start`, `sweep.halving`, `sweep.changed`.
 */
export async function runSweep({ experiment_file, resume, cwd, control, report, peaks }: RunOptions): Promise<SweepSummary> {
  const source = readExperimentFile(experiment_file);
  if (!source.sweep) throw new LabError({ code: 'sweep.none', file: source.file, cause: 'the experiment has no section "sweep"', action: 'add one, or use train' });
  const begun = performance.now();
  report.state({ state: 'preparing' });
  let folder: SweepFolder | undefined;
  let shared: Awaited<ReturnType<typeof createSharedSteps>> | undefined;
  try {
    if (!resume) refuseInputs(source);
    folder = resume ? openSweepFolder(folderToResume(source, cwd), { resume }) : undefined;
    const earlier = folder?.read();
    if (earlier) checkSame(source, source.sweep, earlier);
    const card = GpuMemory.before(source.experiment.engine.device);
    const prepared = prepare(source, null, report, undefined, momentOf(earlier?.moment));
    const steps = haltingSteps(source, source.sweep, prepared);
    control.throwIfStopped();

    report.progress({ message: 'Preparing the model', fraction: null });
    const path = folder?.path ?? newFolder(source, cwd);
    const names = source.sweep.members.map((changes, i) => memberName(i, changes));
    const experiments = source.sweep.members.map((changes, i) => memberExperiment(source.experiment, changes, join(path, names[i])));
    const variants = experiments.map(experiment => prepareVariant(prepared, experiment));
    const { lora, training, engine } = source.experiment;
    const widest = planAdapter(prepared.model, { ...lora, r: Math.max(...experiments.map(experiment => experiment.lora.r)) });
    const exact = earlier ? null : await exactStep(experiments[0], variants[0], report);
    peaks?.cardBefore((await card).before);
    control.throwIfStopped();
    shared = await createSharedSteps({ ...stepOptions(source.experiment, prepared), plan: widest, split_prefix: savingsOf(engine).prefix_cache }, variants.map(({ plan, trainables }, i) => ({ plan, trainables, training: experiments[i].training })));
    control.throwIfStopped();

    folder ??= openSweepFolder(path, { resume: false });
    if (folder.previous) report.log({ level: 'info', message: `the earlier run in ${folder.path} was moved to ${folder.previous}` });
    if (exact) await compareFirstStep(shared.steps[0], exact, experiments[0], report);
    const sets = keepPrefix({ step: shared.steps[0], experiment: source.experiment, prepared, folder: folder.path, report });
    // With B at zero no adapter changes anything yet, whatever its rank and alpha. Evaluations by writing are left to each member.
    const same = source.experiment.lora.init_lora_weights !== false || source.experiment.lora.init_adapter !== null;
    const evaluated = sets.eval && training.eval_strategy !== 'no' && same && !earlier && !prepared.writing;
    const eval_before = evaluated ? await evaluate(shared.steps[0], sets.eval!, prepared.model, training.per_device_eval_batch_size, () => control.throwIfStopped()) : null;
    const members = names.map((name, i) => new Member({
      name, changes: source.sweep!.members[i], path: join(path, name), source: { ...source, experiment: experiments[i], sweep: null },
      prepared: { ...variants[i], ...sets }, step: shared!.steps[i], report, control: new RunControl(control.waits, control), peaks, eval_before,
    }));
    if (earlier) for (const member of members) member.takeUp(earlier.members.find(({ name }) => name === member.name)!, readSummary(join(path, member.name)));
    const table = new SweepTable(folder, members, { source, prepared, device: shared.steps[0].device, begun, control, report, peaks });
    await new SweepRun(members, table, steps, source.sweep.halving?.eta ?? 1, control, report).run();
    return await table.write(control.wanted === 'stop' && members.some(member => member.state === 'stopped' || member.state === 'waiting') ? 'stopped' : 'finished');
  } catch (error) {
    if (error instanceof StopRequested) throw new LabError({ code: 'run.cancelled', file: source.file, cause: 'the sweep was stopped before its first step', action: 'start it again when you want to' });
    throw withPlace(error, source);
  } finally {
    await release(shared, report);
    folder?.close();
  }
}

const readSummary = (path: string): Summary | undefined => (lookUp(join(path, 'summary.json')) ? readJsonObject(join(path, 'summary.json'), 1 << 20) as unknown as Summary : undefined);

/** Error `sweep.changed`: the members of an interrupted sweep must still be the same. */
function checkSame(source: ExperimentFile, sweep: Sweep, earlier: SweepSummary): void {
  const names = (list: { name: string }[]): string => list.map(({ name }) => name).sort().join();
  if (names(earlier.members) === names(sweep.members.map((changes, i) => ({ name: memberName(i, changes) })))) return;
  throw new LabError({ code: 'sweep.changed', file: source.file, where: source.place('sweep'), cause: 'is no longer the sweep that was interrupted', action: 'put it back to resume, or start a new one' });
}

/** The steps after which a halving compares. Errors `sweep.start` and `sweep.halving` for what does not go together. */
function haltingSteps({ experiment: { lora, training } }: ExperimentFile, { members, halving }: Sweep, prepared: Prepared): number[] {
  const key = members.flatMap(member => Object.keys(member)).find(name => name.startsWith('lora.'));
  if (prepared.plan.subtracts_start) throw new LabError({ code: 'sweep.start', where: 'lora.init_lora_weights', cause: `"${lora.init_lora_weights}" takes the start from the base weights, which the members of a sweep share unchanged`, action: 'set it to true or "gaussian", or run the experiments one by one' });
  if (lora.init_adapter !== null && key) throw new LabError({ code: 'sweep.start', where: 'lora.init_adapter', cause: `fixes ${key}`, action: `remove init_adapter, or ${key} from the sweep` });
  if (!halving) return [];
  const { total_steps, steps_per_epoch } = planSchedule(rowsOf(prepared), training);
  const found = rungs(halving, total_steps / steps_per_epoch);
  if (!found.length) throw new LabError({ code: 'sweep.halving', where: 'sweep.halving', cause: `min_epochs is ${halving.min_epochs}, and the members end after ${total_steps / steps_per_epoch} epochs`, action: 'compare earlier, or train longer' });
  return found.map(epochs => epochs * steps_per_epoch);
}

/** The order in which members train. */
class SweepRun {
  private active: Member | undefined;
  private over = false;

  constructor(
    private readonly members: readonly Member[], private readonly table: SweepTable, private readonly steps: readonly number[], private readonly eta: number,
    private readonly control: RunControl, private readonly report: RunOptions['report'],
  ) {}

  async run(): Promise<void> {
    void this.passOn();
    try {
      await this.table.write('running');
      for (const until of [...this.steps, null]) {
        for (const [i, member] of this.members.entries()) {
          if (this.control.wanted === 'stop' || !member.begin(until)) continue;
          this.active = member;
          this.report.member({ name: member.name, number: i, members: this.table.rows() });
          const advanced = member.advance(until, this.control.wanted);
          this.handOn();
          await advanced;
          this.active = undefined;
          await this.table.write('running');
        }
        if (until !== null && this.control.wanted !== 'stop') await this.halve(until);
      }
    } catch (error) {
      // Who has given up a member that found no room is not asked again for each of the others.
      for (const member of this.members) member.control.waits = false;
      throw error;
    } finally {
      this.over = true;
      this.control.refuseSaves('no member of the sweep is running any more');
      for (const member of this.members) await member.end('stopped');
    }
  }

  /** Ends all but the best 1 in eta of those that came as far as this step, whether in this part of the sweep or in an earlier one. */
  private async halve(step: number): Promise<void> {
    const arrived = this.members.filter(member => member.value(step) !== undefined).sort((a, b) => this.table.compare(a.value(step), b.value(step)));
    for (const member of arrived.slice(Math.max(1, Math.ceil(arrived.length / this.eta)))) await member.end('halved');
    await this.table.write('running');
  }

  private async passOn(): Promise<void> {
    while (!this.over) {
      await this.control.changed();
      this.handOn();
    }
  }

  /** What is asked of the sweep is asked of the member that is going on; between two of them it waits for the next one. */
  private handOn(): void {
    const { active, control } = this;
    if (!active || active.ended) return;
    for (const request of control.takeSaves()) void active.control.save().then(request.done, request.failed);
    active.ask(control.wanted);
  }
}

/** `sweep.json`: how the members stand, the best one first. */
class SweepTable {
  private readonly evaluates: boolean;
  private readonly greater: boolean;

  constructor(private readonly folder: SweepFolder, private readonly members: readonly Member[], private readonly about: { source: ExperimentFile; prepared: Prepared; device: string; begun: number } & Pick<RunOptions, 'control' | 'report' | 'peaks'>) {
    this.evaluates = about.prepared.eval !== null && about.source.experiment.training.eval_strategy !== 'no';
    this.greater = this.evaluates && about.prepared.rule.greater_is_better;
  }

  /** Negative if `a` is better. What has no value comes last. */
  compare(a: number | null | undefined, b: number | null | undefined): number {
    const [x, y] = [a, b].map(value => (value === null || value === undefined || Number.isNaN(value) ? Infinity : this.greater ? -value : value));
    return x === y ? 0 : x - y;
  }

  rows(): SweepMember[] {
    const group = ({ state }: SweepMember): number => (state === 'failed' ? 2 : state === 'halved' ? 1 : 0);
    return this.members.map(member => member.describe(this.evaluates)).sort((a, b) => group(a) - group(b) || (a.state === 'halved' ? b.steps - a.steps : 0) || this.compare(a.value, b.value));
  }

  /** On a full disk it waits, where somebody can make room. */
  async write(state: SweepSummary['state']): Promise<SweepSummary> {
    const { prepared, device, begun, control, report, peaks } = this.about;
    const members = this.rows();
    const summary: SweepSummary = {
      state, metric: this.evaluates ? `eval_${prepared.rule.metric}` : 'train_loss', greater_is_better: this.greater, members, best: members[0].value === null ? null : members[0].name,
      folder: this.folder.path, device, moment: stamp(prepared.moment), seconds: (performance.now() - begun) / 1000, ...peakMemory(), ...peaks?.summary(),
    };
    await withRoom(() => this.folder.write(summary), { folder: this.folder.path, control, report, what: 'the ranking', where: 'sweep.json', bytes: 1 << 16, lastGoodCheckpoint: undefined });
    return summary;
  }
}

/** The Model tree without VS Code: checkpoint → layers → groups → modules, made from the dotted names of the modules. Pure. */
import { adapterShape, formatCompact, isSaved, type AdapterSettings, type AdapterShape } from '../protocol/adapterMath';
import type { ModuleInfo } from '../protocol/engine';
import type { ModelView } from '../protocol/panel';

export interface ModuleNode {
  /** Stable while the checkpoint is the same, so that expansion and selection survive a refresh. */
  id: string;
  label: string;
  kind: 'model' | 'layer' | 'group' | 'module';
  children: ModuleNode[];
  parent: ModuleNode | undefined;
  /** Set on a leaf. */
  module: ModuleInfo | undefined;
}

/** `bert.encoder.layer.0.attention.self.query` → stack `bert.encoder.layer`, layer 0, the rest inside the layer. */
const IN_LAYER = /^(.*?)\.(\d+)\.(.+)$/;

/** The tree of a checkpoint. Layers of a single stack read `layer 0`; several stacks (encoder, decoder) keep their names. */
export function buildModuleTree(model: ModelView, name: string): ModuleNode {
  const root: ModuleNode = { id: `model:${model.folder}`, label: name, kind: 'model', children: [], parent: undefined, module: undefined };
  const stacks = new Set(model.modules.flatMap(m => IN_LAYER.exec(m.name)?.[1] ?? []));
  for (const module of model.modules) {
    const match = IN_LAYER.exec(module.name);
    if (!match) {
      const parts = module.name.split('.');
      const top = parts.length > 2 ? child(root, `group:${parts.slice(0, -1).join('.')}`, parts.slice(1, -1).join('.'), 'group') : root;
      leaf(top, parts.length > 2 ? parts[parts.length - 1] : parts.slice(-2).join('.'), module);
      continue;
    }
    const [, stack, index, rest] = match;
    const layer = child(root, `layer:${stack}.${index}`, stacks.size > 1 ? `${shortStack(stack)} ${index}` : `layer ${index}`, 'layer');
    const inner = /^((?:layer\.\d+\.)?[^.]+)\.(.+)$/.exec(rest);
    const group = inner ? child(layer, `group:${stack}.${index}.${inner[1]}`, inner[1], 'group') : layer;
    leaf(group, inner ? inner[2] : rest, module);
  }
  joinSingleChildren(root);
  return root;
}

/** The adaptable modules that the box of a node stands for: itself, or the linear layers below it. Embeddings are ticked by themselves, or by a node that holds nothing else. */
export function tickable(node: ModuleNode, lora: Pick<AdapterSettings, 'modules_to_save' | 'full'>): ModuleInfo[] {
  if (node.module) return node.module.adaptable && !isSaved(node.module, lora) ? [node.module] : [];
  const below = node.children.flatMap(c => tickable(c, lora));
  const linear = below.filter(module => module.type === 'Linear');
  return linear.length ? linear : below;
}

/** Whether the node, or anything below it, is trained whole. */
export const isTrained = (node: ModuleNode, lora: Pick<AdapterSettings, 'modules_to_save' | 'full'>): boolean =>
  (node.module ? isSaved(node.module, lora) : node.children.some(c => isTrained(c, lora)));

/** Three states: a parent with some of its modules ticked is unticked and says how many. */
export interface NodeState { ticked: number; total: number; description: string; adapter: AdapterShape | undefined }

/** What a node shows beside its label. Shapes are [out, in], as in the checkpoint. */
export function nodeState(node: ModuleNode, tickedNames: ReadonlySet<string>, lora: AdapterSettings): NodeState {
  const all = tickable(node, lora);
  const ticked = all.filter(m => tickedNames.has(m.name));
  if (node.module) {
    const shape = node.module.shape.join(' × ');
    const adapter = ticked.length ? adapterShape(node.module, lora) : undefined;
    const note = isSaved(node.module, lora) ? ' · trained whole' : adapter ? ` · r ${adapter.r}` : '';
    return { ticked: ticked.length, total: all.length, description: shape + note, adapter };
  }
  const parameters = ticked.reduce((sum, m) => sum + adapterShape(m, lora).parameters, 0);
  const count = all.length ? `${ticked.length}/${all.length}` : '';
  return { ticked: ticked.length, total: all.length, description: parameters ? `${count} · +${formatCompact(parameters)}` : count, adapter: undefined };
}

export function findNode(node: ModuleNode, id: string): ModuleNode | undefined {
  if (node.id === id) return node;
  for (const c of node.children) {
    const found = findNode(c, id);
    if (found) return found;
  }
  return undefined;
}

function child(parent: ModuleNode, id: string, label: string, kind: ModuleNode['kind']): ModuleNode {
  let node = parent.children.find(c => c.id === id);
  if (!node) {
    node = { id, label, kind, children: [], parent, module: undefined };
    parent.children.push(node);
  }
  return node;
}

function leaf(parent: ModuleNode, label: string, module: ModuleInfo): void {
  parent.children.push({ id: `module:${module.name}`, label, kind: 'module', children: [], parent, module });
}

/** A group that holds a single module is that module: `intermediate.dense`. */
function joinSingleChildren(node: ModuleNode): void {
  node.children = node.children.map(c => {
    joinSingleChildren(c);
    if (c.kind !== 'group' || c.children.length !== 1) return c;
    const [only] = c.children;
    return Object.assign(only, { label: `${c.label}.${only.label}`, parent: node });
  });
}

/** `encoder.block` → `encoder`: the last part only says that it is a list. */
const shortStack = (stack: string): string => stack.split('.').slice(0, -1).pop() ?? stack;

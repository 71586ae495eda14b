/**
 * A stand-in for VS Code around the panel's page: theme variables, and a host that answers from fixtures.
 * `?state=running&theme=dark`; `window.mock` lets a script look at what was asked and send notifications.
 */
import type { ErrorReport } from '../../../src/protocol/engine';
import type { PanelNotifications, PanelRequests, PanelView, Tried, TryRequest, WrittenPair } from '../../../src/protocol/panel';
import { withValue } from '../../../webview/settingsForm';
import { COMPARISONS, tagged, tried, VIEWS, WRITTEN } from './fixtures';
import { THEMES } from './themes';

interface Message { jsonrpc: '2.0'; id?: number; method: string; params: unknown }

const query = new URLSearchParams(location.search);
const view: PanelView = structuredClone(VIEWS[query.get('state') ?? 'ready'] ?? VIEWS.ready);
const asked: { method: string; params: unknown }[] = [];

function useTheme(name: string): void {
  const { kind, variables } = THEMES[name];
  document.documentElement.removeAttribute('style');
  for (const [variable, value] of Object.entries(variables)) document.documentElement.style.setProperty(`--vscode-${variable}`, value);
  document.body.className = kind;
  document.body.dataset.vscodeThemeKind = kind;
}

const reply = (message: object): void => void setTimeout(() => window.postMessage({ jsonrpc: '2.0', ...message }, '*'), 5);
const notify = <K extends keyof PanelNotifications>(method: K, params: PanelNotifications[K]): void => reply({ method, params });

/** What the host keeps while the page is not there; here, where the page is loaded again. */
const kept = <T>(name: string): T | undefined => JSON.parse(sessionStorage.getItem(name) ?? 'null') ?? undefined;
const keep = (name: string, value: unknown): void => sessionStorage.setItem(name, JSON.stringify(value));
function tell({ of, texts, pairs }: TryRequest, part: Partial<Tried>): void {
  const tried: Tried = { of, texts, pairs, classes: null, written: null, error: null, busy: true, ...part };
  keep('tried', tried);
  notify('tried', tried);
}

/** The texts grow by a word each 20 ms, until they end or a Stop was asked for; `?slow` waits for the Stop. */
let stopped = false;
async function writing(request: TryRequest): Promise<void> {
  stopped = false;
  const pair: WrittenPair = { adapter: { text: '', stopped: null }, base: { text: '', stopped: null } };
  for (const side of ['adapter', 'base'] as const) {
    for (const word of WRITTEN[side].split(/(?<= )/)) {
      await new Promise(resolve => setTimeout(resolve, 20));
      if (stopped) break;
      pair[side].text += word;
      tell(request, { written: structuredClone(pair) });
    }
    while (query.has('slow') && !stopped) await new Promise(resolve => setTimeout(resolve, 5));
    pair[side].stopped = stopped ? 'stopped' : side === 'adapter' ? 'end' : 'length';
  }
  tell(request, { written: pair, busy: false });
}

const answers: { [K in keyof PanelRequests]: (params: PanelRequests[K][0]) => PanelRequests[K][1] | Promise<PanelRequests[K][1]> } = {
  ready: () => ({ ...view, tried: kept<Tried>('tried') ?? null }),
  edit({ changes }) {
    for (const { path, value } of changes) view.experiment = { ...view.experiment!, values: withValue(view.experiment!.values, path, value) };
    notify('experiment', { experiment: view.experiment });
    return null;
  },
  act: () => null, browse: () => null,
  predict(request) {
    tell(request, { classes: (view.experiment?.values.task === 'TOKEN_CLS' ? tagged : tried)(request.texts), busy: false });
    return null;
  },
  measure: () => null, startAnyway: () => null,
  cancelMeasure: () => null,
  write(request) {
    void writing(request);
    return null;
  },
  stopWriting: () => {
    stopped = true;
    return null;
  },
  open: () => null,
};

/** `refused` is why the file cannot be changed. */
const mock = { asked, notify, useTheme, view, refused: null as ErrorReport | null };
/** Where the page is that of a comparison. */
const comparison = COMPARISONS[query.get('state') ?? ''];
if (comparison) Object.assign(answers, { ready: () => comparison, openRun: () => null });
Object.assign(window, {
  acquireVsCodeApi: () => ({
    postMessage(message: Message) {
      // What crosses to the host is JSON.
      const { id, method, params } = JSON.parse(JSON.stringify(message)) as Message;
      asked.push({ method, params });
      const { refused } = mock;
      if (refused && method === 'edit') reply({ id, error: { code: -32000, message: refused.cause, data: refused } });
      else void Promise.resolve((answers[method as keyof PanelRequests] as (params: unknown) => unknown)(params)).then(result => reply({ id, result }));
    },
    getState: () => kept('state'),
    setState: (state: unknown) => keep('state', state),
  }),
  mock,
});

useTheme(query.get('theme') ?? 'dark');

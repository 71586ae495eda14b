/**
 * A stand-in for VS Code around the panel's page: theme variables, and a host that answers from fixtures.
 * `?state=running&theme=dark`; `window.mock` lets a script look at what was asked and send notifications.
 */
import type { PanelNotifications, PanelRequests, PanelView } from '../../../src/protocol/panel';
import { withValue } from '../../../webview/settingsForm';
import { tried, VIEWS } from './fixtures';
import { THEMES } from './themes';

interface Message { jsonrpc: '2.0'; id?: number; method: string; params: unknown }

const query = new URLSearchParams(location.search);
const view: PanelView = structuredClone(VIEWS[query.get('state') ?? 'ready']);
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

const answers: { [K in keyof PanelRequests]: (params: PanelRequests[K][0]) => PanelRequests[K][1] } = {
  ready: () => view,
  edit({ path, value }) {
    view.experiment = { ...view.experiment!, values: withValue(view.experiment!.values, path, value) };
    notify('experiment', { experiment: view.experiment });
    return null;
  },
  act: () => null,
  predict: ({ texts }) => tried(texts),
  measure: () => null,
  cancelMeasure: () => null,
  open: () => null,
};

Object.assign(window, {
  acquireVsCodeApi: () => ({
    postMessage({ id, method, params }: Message) {
      asked.push({ method, params });
      reply({ id, result: (answers[method as keyof PanelRequests] as (params: unknown) => unknown)(params) });
    },
    getState: () => undefined,
    setState: (state: unknown) => asked.push({ method: 'setState', params: state }),
  }),
  mock: { asked, notify, useTheme, view },
});

useTheme(query.get('theme') ?? 'dark');

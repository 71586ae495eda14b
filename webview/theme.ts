/** Colours for the canvases, which cannot use style sheets: read from the theme, and again whenever it changes. */

export interface Theme {
  text: string; muted: string; grid: string; background: string; border: string; font: string;
  blue: string; yellow: string; green: string; purple: string;
  highContrast: boolean;
}

/** The colours of the theme that is active now. */
export function readTheme(): Theme {
  const style = getComputedStyle(document.body);
  const colour = (names: string[], otherwise: string): string => names.map(name => style.getPropertyValue(`--vscode-${name}`).trim()).find(Boolean) ?? otherwise;
  const text = colour(['foreground'], '#888888');
  const highContrast = document.body.classList.contains('vscode-high-contrast') || document.body.classList.contains('vscode-high-contrast-light');
  return {
    text,
    muted: highContrast ? text : colour(['descriptionForeground'], text),
    grid: highContrast ? colour(['contrastBorder'], text) : colour(['panel-border', 'editorWidget-border', 'charts-lines'], '#88888840'),
    background: colour(['editorHoverWidget-background', 'editorWidget-background', 'editor-background'], '#222222'),
    border: colour(['contrastBorder', 'editorHoverWidget-border', 'editorWidget-border'], text),
    font: colour(['font-family'], 'sans-serif'),
    blue: colour(['charts-blue'], '#3794ff'),
    yellow: colour(['charts-yellow'], '#cca700'),
    green: colour(['charts-green'], '#89d185'),
    purple: colour(['charts-purple'], '#b180d7'),
    highContrast,
  };
}

/** Calls `changed` after VS Code has switched the theme, until the returned function is called. */
export function onThemeChange(changed: () => void): () => void {
  // The class changes in the same step as the variables; a frame later both are computed.
  const observer = new MutationObserver(() => requestAnimationFrame(changed));
  observer.observe(document.body, { attributes: true, attributeFilter: ['class', 'data-vscode-theme-id'] });
  return () => observer.disconnect();
}

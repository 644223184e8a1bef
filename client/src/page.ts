/**
 * Types for scripts that show an application's own content types in the chat page of the server (`--page-renderers`).
 *
 * A script calls `dmwire.addRenderer('order.updated', render)`. The page draws the card: a renderer returns data, not elements,
 * so that content of other users cannot become markup.
 */

import type { Content } from './frames.generated.js';

/** The page, as the scripts see it. */
export interface PageApi {
  /**
   * Shows content of a type, whose name contains a dot. A later call for the same type replaces the renderer. Call it while the
   * script is loaded.
   */
  addRenderer<C, Send = never>(type: string, renderer: Renderer<C, Send>): void;
}

/**
 * Returns the card for content of one type. It is called often, and its result depends on its arguments only. If it throws, the
 * page shows the type and the data of the content. A stored message may be older than the current schema of its type.
 *
 * @typeParam C The content that it shows.
 * @typeParam Send The application's content types that the buttons send.
 */
export type Renderer<C, Send = never> = (content: C, context: RenderContext) => Card<Send>;

/** What a renderer knows of the message. */
export interface RenderContext {
  /** The user of the page has sent the message. */
  readonly isMine: boolean;
}

/** What the page shows of a message. */
export interface Card<Send = never> {
  /** The first line, also shown in the list of conversations. */
  readonly title: string;
  /** Short details below the title, on one line. */
  readonly details?: readonly string[];
  /** A list. */
  readonly lines?: readonly string[];
  /** A link, which opens in a new tab. A URL other than `https://` and `http://` is not shown. */
  readonly link?: { readonly label: string; readonly url: string };
  /** Buttons. */
  readonly actions?: readonly Action<Send>[];
}

/** A button. */
export interface Action<Send = never> {
  readonly label: string;
  /** The content of a message that is sent as a reply. A user can press a button more than once. */
  readonly send: Content<Send>;
}

declare global {
  /** Defined in the chat page only. */
  var dmwire: PageApi;
}

import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Content } from '../../../src/index.js';
import { direction, shorten } from '../text.js';
import { Icon } from '../ui/icons.js';
import { isLoadable, linkify, parseWebUrl, safeName } from './links.js';
import { type Block, type Inline, ofBlocks, parse, plainText } from './markdown.js';
import { type CheckedCard, cardOf } from './renderers.js';

/** Typed content with unvalidated fields, possibly of a type that this page does not know. */
type UnknownContent = { readonly type: string; readonly [field: string]: unknown };

interface ContentProps {
  readonly content: Content;
  readonly isMine: boolean;
  /** Sends the content of a button. `undefined`: the buttons are disabled. */
  readonly onAction: ((content: Content) => void) | undefined;
}

/**
 * Shows the content of a message. Content of peers reaches the page as text and as checked URLs, never as markup, and nothing
 * is loaded from other hosts before the user asks for it.
 */
export function ContentView({ content, isMine, onAction }: ContentProps): JSX.Element {
  if (typeof content === 'string') return <Text text={content} />;
  const typed = content as unknown as UnknownContent;
  switch (typed.type) {
    case 'markdown':
      return <div class="markdown">{blocks(parse(string(typed.text)))}</div>;
    case 'image':
    case 'audio':
    case 'video':
      return <MediaCard content={typed} />;
    case 'file':
      return <FileCard content={typed} />;
    case 'location':
      return <LocationCard content={typed} />;
    case 'data':
      return <DataBlock name={string(typed.name)} data={typed.data} />;
    default: {
      const card = cardOf(typed, isMine);
      if (card) return <Card card={card} onAction={onAction} />;
      return <DataBlock name={string(typed.type)} data={content} />;
    }
  }
}

/** Returns a text for previews of a message, which is one of the user's own if `isMine`, at most `max` UTF-16 code units long. */
export function preview(content: Content | undefined, isMine: boolean, max = 160): string {
  return shorten(summary(content, isMine), max);
}

function summary(content: Content | undefined, isMine: boolean): string {
  if (content === undefined) return 'Deleted';
  if (typeof content === 'string') return content;
  const typed = content as unknown as UnknownContent;
  switch (typed.type) {
    case 'markdown':
      return plainText(string(typed.text)) || 'Formatted text';
    case 'image':
      return typed.alt ? `Image: ${isolated(typed.alt)}` : 'Image';
    case 'audio':
      return 'Audio';
    case 'video':
      return 'Video';
    case 'file':
      return `File: ${isolated(safeName(string(typed.name)))}`;
    case 'location':
      return typed.label ? `Location: ${isolated(typed.label)}` : 'Location';
    case 'data':
      return string(typed.name);
    default:
      return cardOf(typed, isMine)?.title ?? string(typed.type);
  }
}

/** Encloses a right-to-left text in isolates, so that it keeps its order after a left-to-right one. */
function isolated(value: unknown): string {
  const text = string(value);
  return direction(text) === 'rtl' ? `\u2068${text}\u2069` : text;
}

function string(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

export function Link({ url, children }: { url: URL; children: ComponentChildren }): JSX.Element {
  return (
    <a href={url.href} target="_blank" rel="noopener noreferrer nofollow" referrerpolicy="no-referrer">
      {children}
    </a>
  );
}

function Text({ text }: { text: string }): JSX.Element {
  return (
    <p class="text" dir="auto">
      {linkify(text).map((part, i) => (part.url ? <Link key={i} url={part.url} children={part.text} /> : part.text))}
    </p>
  );
}

// ---- Markdown ----

function blocks(all: readonly Block[]): JSX.Element[] {
  return all.map((block, i) => <BlockView key={i} block={block} />);
}

function BlockView({ block }: { block: Block }): JSX.Element {
  switch (block.kind) {
    case 'paragraph':
      return <p dir="auto">{inlines(block.inline)}</p>;
    case 'heading':
      // Not a heading element, because a message must not affect the outline of the page.
      return (
        <p dir="auto" class={`heading h${Math.min(block.level, 3)}`}>
          <strong>{inlines(block.inline)}</strong>
        </p>
      );
    case 'code':
      return (
        <pre tabIndex={0} dir="ltr">
          <code>{block.text}</code>
        </pre>
      );
    case 'quote':
      return <blockquote dir={direction(ofBlocks(block.blocks))}>{blocks(block.blocks)}</blockquote>;
    case 'rule':
      return <hr />;
    case 'list': {
      const items = block.items.map((item, i) => (
        <li key={i}>{item.length === 1 && item[0]?.kind === 'paragraph' ? inlines(item[0].inline) : blocks(item)}</li>
      ));
      const dir = direction(ofBlocks([block]));
      return block.first === undefined ? (
        <ul dir={dir}>{items}</ul>
      ) : (
        <ol dir={dir} start={block.first}>
          {items}
        </ol>
      );
    }
  }
}

function inlines(all: readonly Inline[]): ComponentChildren[] {
  return all.map((piece, i) => {
    if (typeof piece === 'string') return piece;
    switch (piece.kind) {
      case 'strong':
        return <strong key={i}>{inlines(piece.inline)}</strong>;
      case 'em':
        return <em key={i}>{inlines(piece.inline)}</em>;
      case 'del':
        return <del key={i}>{inlines(piece.inline)}</del>;
      case 'code':
        return <code key={i}>{piece.text}</code>;
      case 'break':
        return <br key={i} />;
      case 'link':
        return <NamedLink key={i} url={piece.url} inline={piece.inline} />;
    }
  });
}

/** A link, followed by its host unless the text is the URL itself. */
function NamedLink({ url, inline }: { url: URL; inline: readonly Inline[] }): JSX.Element {
  const text = inline.length === 1 && typeof inline[0] === 'string' ? inline[0] : undefined;
  const isUrl = text !== undefined && parseWebUrl(text)?.href === url.href;
  return (
    <>
      <Link url={url}>{inlines(inline)}</Link>
      {!isUrl && <span class="host"> ({url.host})</span>}
    </>
  );
}

// ---- Files and media ----

function formatSize(bytes: unknown): string | undefined {
  if (typeof bytes !== 'number') return undefined;
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${new Intl.NumberFormat([], { maximumFractionDigits: 1 }).format(value)} ${units[unit]}`;
}

function formatDuration(milliseconds: unknown): string | undefined {
  if (typeof milliseconds !== 'number') return undefined;
  const total = Math.round(milliseconds / 1000);
  const [hours, minutes, seconds] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const two = (number: number) => String(number).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

function Details({ items }: { items: readonly (string | undefined)[] }): JSX.Element {
  return <span class="facts">{items.filter(Boolean).join(' · ')}</span>;
}

const MEDIA_NAMES = { image: 'Image', audio: 'Audio', video: 'Video' } as const;

/** An image, audio or video. Shows a card until the user loads it, because loading reveals the user's IP address to its host. */
function MediaCard({ content }: { content: UnknownContent }): JSX.Element {
  const [isLoaded, setIsLoaded] = useState(false);
  const [hasFailed, setHasFailed] = useState(false);
  const kind = content.type as keyof typeof MEDIA_NAMES;
  const url = parseWebUrl(content.url);
  const alt = string(content.alt ?? '');
  if (!url) return <InvalidLink url={content.url} label={alt} />;
  if (isLoaded && !hasFailed) {
    const common = { src: url.href, referrerpolicy: 'no-referrer', onError: () => setHasFailed(true) } as const;
    const dimension = (value: unknown) => (typeof value === 'number' ? value : undefined);
    if (kind === 'audio')
      return <audio {...common} controls preload="metadata" aria-label={`Audio from ${url.host}`} />;
    if (kind === 'video')
      return <video {...common} controls preload="metadata" aria-label={`Video from ${url.host}`} />;
    return (
      <figure>
        <img {...common} alt={alt} width={dimension(content.width)} height={dimension(content.height)} />
        {alt && <figcaption dir="auto">{alt}</figcaption>}
      </figure>
    );
  }
  const hasDimensions = typeof content.width === 'number' && typeof content.height === 'number';
  const name = alt || MEDIA_NAMES[kind];
  return (
    <div class="card">
      <Icon name={kind} />
      <div>
        <span class="name" dir="auto">
          {name}
        </span>
        <Details
          items={[
            url.host,
            hasDimensions ? `${content.width} × ${content.height}` : undefined,
            formatDuration(content.duration_ms),
            formatSize(content.size),
          ]}
        />
        {hasFailed && <span class="facts">Loading failed.</span>}
        <span class="actions">
          {isLoadable(url) && !hasFailed && (
            <button
              type="button"
              onClick={() => setIsLoaded(true)}
              title={`Loads from ${url.host}, which will see your IP address`}
            >
              {kind === 'image' ? 'Show' : 'Play'} {kind}
              <span class="unseen"> {alt}</span>
            </button>
          )}
          <Link url={url}>
            Open<span class="unseen"> {name} in a new tab</span>
          </Link>
        </span>
      </div>
    </div>
  );
}

function FileCard({ content }: { content: UnknownContent }): JSX.Element {
  const url = parseWebUrl(content.url);
  const name = safeName(string(content.name));
  if (!url) return <InvalidLink url={content.url} label={name} />;
  return (
    <div class="card">
      <Icon name="file" />
      <div>
        <span class="name">
          <Link url={url}>
            <bdi>{name}</bdi>
          </Link>
        </span>
        <Details
          items={[url.host, content.mime === undefined ? undefined : string(content.mime), formatSize(content.size)]}
        />
      </div>
    </div>
  );
}

/** Shows an invalid URL as text. */
function InvalidLink({ url, label }: { url: unknown; label: string }): JSX.Element {
  return (
    <div class="card">
      <Icon name="file" />
      <div>
        <span class="name" dir="auto">
          {label || 'Attachment'}
        </span>
        <span class="facts">
          invalid URL: <bdi>{string(url)}</bdi>
        </span>
      </div>
    </div>
  );
}

function LocationCard({ content }: { content: UnknownContent }): JSX.Element {
  const [latitude, longitude] = [Number(content.latitude), Number(content.longitude)];
  const degrees = (value: number, [plus, minus]: readonly [string, string]) =>
    `${Math.abs(value).toFixed(5)}° ${value < 0 ? minus : plus}`;
  const map = parseWebUrl(
    `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=15/${latitude}/${longitude}`,
  );
  return (
    <div class="card">
      <Icon name="location" />
      <div>
        <span class="name" dir="auto">
          {content.label === undefined ? 'Location' : string(content.label)}
        </span>
        <Details items={[`${degrees(latitude, ['N', 'S'])}, ${degrees(longitude, ['E', 'W'])}`]} />
        {map && (
          <span class="actions">
            <Link url={map}>Open on OpenStreetMap</Link>
          </span>
        )}
      </div>
    </div>
  );
}

/** A card of an application's content type. */
function Card({ card, onAction }: { card: CheckedCard; onAction: ContentProps['onAction'] }): JSX.Element {
  const { title, details, lines, link, actions } = card;
  return (
    <div class="card">
      <div>
        <span class="name" dir="auto">
          {title}
        </span>
        {details.length > 0 && <Details items={details} />}
        {lines.length > 0 && (
          <ul>
            {lines.map((line, i) => (
              <li key={i} dir="auto">
                {line}
              </li>
            ))}
          </ul>
        )}
        {(actions.length > 0 || link) && (
          <span class="actions">
            {actions.map(({ label, send }, i) => (
              <button key={i} type="button" disabled={!onAction} onClick={() => onAction?.(send)}>
                {label}
                <span class="unseen"> {title}</span>
              </button>
            ))}
            {link && (
              <Link url={link.url}>
                {link.label}
                <span class="unseen"> {title}, in a new tab</span>
              </Link>
            )}
          </span>
        )}
      </div>
    </div>
  );
}

function DataBlock({ name, data }: { name: string; data: unknown }): JSX.Element {
  const text = JSON.stringify(data, null, 2) ?? '';
  return (
    <details class="data">
      <summary>
        <Icon name="data" /> <bdi>{safeName(name)}</bdi>
      </summary>
      <pre tabIndex={0} dir="ltr">
        {text}
      </pre>
    </details>
  );
}

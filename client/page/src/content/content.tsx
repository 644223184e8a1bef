import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Content } from '../../../src/index.js';
import { Icon } from '../ui/icons.js';
import { isLoadable, pieces, plainName, webUrl } from './links.js';
import { type Block, type Inline, parse, words } from './markdown.js';

/** Content of whatever type, also of one that this page does not know: other servers have their own. */
type Loose = { readonly type: string; readonly [field: string]: unknown };

/**
 * What a message carries. What peers wrote reaches the page as text and as addresses that were checked, never as markup; and
 * nothing is loaded from where a peer points before the user asks for it.
 */
export function ContentView({ content }: { content: Content }): JSX.Element {
  if (typeof content === 'string') return <Text text={content} />;
  const loose = content as unknown as Loose;
  switch (loose.type) {
    case 'markdown':
      return <div class="markdown">{blocks(parse(string(loose.text)))}</div>;
    case 'image':
    case 'audio':
    case 'video':
      return <Media content={loose} />;
    case 'file':
      return <FileCard content={loose} />;
    case 'location':
      return <Place content={loose} />;
    case 'data':
      return <Data name={string(loose.name)} data={loose.data} />;
    default:
      return <Data name={string(loose.type)} data={content} />;
  }
}

/** In a few words. */
export function preview(content: Content | undefined): string {
  if (content === undefined) return 'Deleted';
  if (typeof content === 'string') return content;
  const loose = content as unknown as Loose;
  switch (loose.type) {
    case 'markdown':
      return words(string(loose.text)) || 'Formatted text';
    case 'image':
      return loose.alt ? `Picture: ${string(loose.alt)}` : 'Picture';
    case 'audio':
      return 'Sound';
    case 'video':
      return 'Video';
    case 'file':
      return `File: ${plainName(string(loose.name))}`;
    case 'location':
      return loose.label ? `Place: ${string(loose.label)}` : 'Place';
    default:
      return string(loose.type === 'data' ? loose.name : loose.type);
  }
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
      {pieces(text).map((piece, i) =>
        piece.url ? <Link key={i} url={piece.url} children={piece.text} /> : piece.text,
      )}
    </p>
  );
}

// ---- Markdown ----

function blocks(all: readonly Block[]): JSX.Element[] {
  return all.map((block, i) => <BlockView key={i} block={block} />);
}

function BlockView({ block }: { block: Block }): JSX.Element {
  switch (block.is) {
    case 'paragraph':
      return <p dir="auto">{inlines(block.inline)}</p>;
    case 'heading':
      // Not a heading of the page: a message does not structure it.
      return (
        <p dir="auto" class={`heading h${Math.min(block.level, 3)}`}>
          <strong>{inlines(block.inline)}</strong>
        </p>
      );
    case 'code':
      return (
        <pre tabIndex={0}>
          <code>{block.text}</code>
        </pre>
      );
    case 'quote':
      return <blockquote>{blocks(block.blocks)}</blockquote>;
    case 'rule':
      return <hr />;
    case 'list': {
      const items = block.items.map((item, i) => (
        <li key={i} dir="auto">
          {item.length === 1 && item[0]?.is === 'paragraph' ? inlines(item[0].inline) : blocks(item)}
        </li>
      ));
      return block.first === undefined ? <ul>{items}</ul> : <ol start={block.first}>{items}</ol>;
    }
  }
}

function inlines(all: readonly Inline[]): ComponentChildren[] {
  return all.map((piece, i) => {
    if (typeof piece === 'string') return piece;
    switch (piece.is) {
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

/** Says where it leads, if its words do not. */
function NamedLink({ url, inline }: { url: URL; inline: readonly Inline[] }): JSX.Element {
  const named = inline.length === 1 && typeof inline[0] === 'string' ? inline[0] : undefined;
  const isAddress = named !== undefined && webUrl(named)?.href === url.href;
  return (
    <>
      <Link url={url}>{inlines(inline)}</Link>
      {!isAddress && <span class="host"> ({url.host})</span>}
    </>
  );
}

// ---- What lies elsewhere ----

function size(bytes: unknown): string | undefined {
  if (typeof bytes !== 'number') return undefined;
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${new Intl.NumberFormat([], { maximumFractionDigits: 1 }).format(value)} ${units[unit]}`;
}

function duration(milliseconds: unknown): string | undefined {
  if (typeof milliseconds !== 'number') return undefined;
  const all = Math.round(milliseconds / 1000);
  const [hours, minutes, seconds] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const two = (number: number) => String(number).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

function Facts({ of }: { of: readonly (string | undefined)[] }): JSX.Element {
  return <span class="facts">{of.filter(Boolean).join(' · ')}</span>;
}

const MEDIA = { image: 'picture', audio: 'sound', video: 'video' } as const;

/** A picture, a sound or a film: a card that says where it lies, until the user wants it. Loading it tells that host who looks. */
function Media({ content }: { content: Loose }): JSX.Element {
  const [wanted, want] = useState(false);
  const [failed, fail] = useState(false);
  const kind = content.type as keyof typeof MEDIA;
  const url = webUrl(content.url);
  const alt = string(content.alt ?? '');
  if (!url) return <NoLink url={content.url} label={alt} />;
  if (wanted && !failed) {
    const common = { src: url.href, referrerpolicy: 'no-referrer', onError: () => fail(true) } as const;
    const dimension = (value: unknown) => (typeof value === 'number' ? value : undefined);
    if (kind === 'audio')
      return <audio {...common} controls preload="metadata" aria-label={`Sound from ${url.host}`} />;
    if (kind === 'video')
      return <video {...common} controls preload="metadata" aria-label={`Video from ${url.host}`} />;
    return (
      <figure>
        <img {...common} alt={alt} width={dimension(content.width)} height={dimension(content.height)} />
        {alt && <figcaption dir="auto">{alt}</figcaption>}
      </figure>
    );
  }
  const pixels = typeof content.width === 'number' && typeof content.height === 'number';
  const name = alt || (kind === 'image' ? 'Picture' : kind === 'audio' ? 'Sound' : 'Video');
  return (
    <div class="card">
      <Icon name={kind} />
      <div>
        <span class="name" dir="auto">
          {name}
        </span>
        <Facts
          of={[
            url.host,
            pixels ? `${content.width} × ${content.height}` : undefined,
            duration(content.duration_ms),
            size(content.size),
          ]}
        />
        {failed && <span class="facts">It could not be loaded.</span>}
        <span class="actions">
          {isLoadable(url) && !failed && (
            <button
              type="button"
              onClick={() => want(true)}
              title={`Loads it from ${url.host}, which then knows of you`}
            >
              {kind === 'image' ? 'Show' : 'Play'} {MEDIA[kind]}
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

function FileCard({ content }: { content: Loose }): JSX.Element {
  const url = webUrl(content.url);
  const name = plainName(string(content.name));
  if (!url) return <NoLink url={content.url} label={name} />;
  return (
    <div class="card">
      <Icon name="file" />
      <div>
        <span class="name">
          <Link url={url}>
            <bdi>{name}</bdi>
          </Link>
        </span>
        <Facts of={[url.host, content.mime === undefined ? undefined : string(content.mime), size(content.size)]} />
      </div>
    </div>
  );
}

/** Something else than an address where one should be: as text, it can do nothing. */
function NoLink({ url, label }: { url: unknown; label: string }): JSX.Element {
  return (
    <div class="card">
      <Icon name="file" />
      <div>
        <span class="name" dir="auto">
          {label || 'Attachment'}
        </span>
        <span class="facts">no web address: {string(url)}</span>
      </div>
    </div>
  );
}

function Place({ content }: { content: Loose }): JSX.Element {
  const [latitude, longitude] = [Number(content.latitude), Number(content.longitude)];
  const degrees = (value: number, [plus, minus]: readonly [string, string]) =>
    `${Math.abs(value).toFixed(5)}° ${value < 0 ? minus : plus}`;
  const map = webUrl(
    `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=15/${latitude}/${longitude}`,
  );
  return (
    <div class="card">
      <Icon name="location" />
      <div>
        <span class="name" dir="auto">
          {content.label === undefined ? 'Place' : string(content.label)}
        </span>
        <Facts of={[`${degrees(latitude, ['N', 'S'])}, ${degrees(longitude, ['E', 'W'])}`]} />
        {map && (
          <span class="actions">
            <Link url={map}>Open on OpenStreetMap</Link>
          </span>
        )}
      </div>
    </div>
  );
}

function Data({ name, data }: { name: string; data: unknown }): JSX.Element {
  const text = JSON.stringify(data, null, 2) ?? '';
  return (
    <details class="data">
      <summary>
        <Icon name="data" /> <bdi>{plainName(name)}</bdi>
      </summary>
      <pre tabIndex={0}>{text}</pre>
    </details>
  );
}

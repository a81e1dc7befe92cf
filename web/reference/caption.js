// Fills a reference's caption from its file, and never overwrites what the user wrote.

/**
 * Watches one node's file and caption.
 *
 * `node` gives {file, caption} and takes a caption by `write`; `suggest` answers with the caption that a file's
 * tags or name say.
 */
export class CaptionKeeper {
  constructor({ read, write, suggest, fresh }) {
    Object.assign(this, { read, write, suggest, fresh });
    this.of = null; // the file that the caption is about
    this.stale = null; // {file, caption, offer} while a caption of the user's stands beside another file
  }

  async look() {
    const { file, caption } = this.read();
    if (this.of === null) {
      this.of = file;
      if (this.fresh() && !caption.trim()) this.write(await this.#offer(file).catch(() => ""));
      return;
    }
    if (this.stale && (file !== this.stale.file || caption !== this.stale.caption)) {
      // Written anew: it is about the new file.
      if (file === this.stale.file) this.of = file;
      this.stale = null;
    }
    if (file === this.of || this.stale || this.asking === file) return;
    this.asking = file;
    const [before, offer] = await Promise.all([this.#offer(this.of).catch(() => ""), this.#offer(file).catch(() => null)]);
    this.asking = null;
    const now = this.read();
    // Without an answer the file may be on its way still: the next look asks again.
    if (now.file !== file || offer === null) return;
    if (!now.caption.trim() || now.caption === before) {
      this.of = file;
      if (now.caption !== offer) this.write(offer);
    } else if (now.caption === offer) this.of = file;
    else this.stale = { file, caption: now.caption, offer };
  }

  /** The caption is right for the file as it is. */
  accept() {
    this.of = this.read().file;
    this.stale = null;
  }

  async #offer(file) {
    return file ? this.suggest(file) : "";
  }
}

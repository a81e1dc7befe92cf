// What the ruler plays: the mix of the references, or the result of the last run.

import { mix, peaksOf, Player } from "./audio.js";
import { picture } from "./spectrogram.js";

export class Listening {
  /** `shown` gives the timeline to mix; `say` tells the user; `changed` is called when it starts, stops or has a new source. */
  constructor(view, { shown, say, changed }) {
    Object.assign(this, { view, shown, say, changed });
    this.source = "mix";
    this.buffer = null; // the mix, and the timeline's text that it is of
    this.mixed = null;
    this.result = null;
    this.player = new Player((at) => this.#moved(at), () => this.changed());
  }

  #moved(at) {
    this.view.playhead = at;
    this.view.request();
  }

  /** The mix is no longer that of the timeline. */
  forget() {
    this.buffer = null;
  }

  /** A run's result, which is played from now on. */
  setResult(buffer) {
    this.result = buffer;
    this.view.result = { seconds: buffer.duration, peaks: peaksOf(buffer), picture: picture(buffer) };
    this.choose("result");
  }

  /** Play from now on "mix" or "result"; what plays goes on in the other at the same time. */
  choose(source) {
    if (source === "result" && !this.result) return;
    const { playing } = this.player;
    this.source = source;
    if (playing) this.play(this.view.playhead ?? 0);
    this.changed();
  }

  /** The timeline was edited: what one wants to hear then is its mix. */
  edited() {
    if (this.source === "result") this.choose("mix");
  }

  async play(from = 0, source = this.source) {
    this.player.stop();
    this.#moved(from);
    if (source === "result") {
      this.player.play(this.result, from);
      return this.changed();
    }
    const timeline = this.shown();
    const { text } = timeline;
    if (!this.buffer || this.mixed !== text) {
      try {
        const { buffer, silent } = await mix(timeline);
        [this.buffer, this.mixed] = [buffer, text];
        if (silent.length) this.say(`Not in this mix, but in the run: ${silent.join(", ")}`);
      } catch (error) {
        return this.say(`The mix cannot be played: ${error.message}`);
      }
    }
    this.player.play(this.buffer, from);
    this.changed();
  }

  /** Play or stop; plays on from the playhead where that is not at the end. */
  toggle() {
    if (this.player.playing) return this.player.stop();
    const { playhead, timeline } = this.view;
    this.play(playhead !== null && playhead < timeline.seconds - 0.05 ? playhead : 0);
  }
}

// The transport's faders, meter and play button.

import { button, field, find } from "./page";
import { type Player, TRACKS } from "./player";

const QUIETEST_DB = -60, FALL_DB = 0.4; // of the held peak, per frame of the screen

/** Connect them with the player; `faded` is called when a fader has been moved. */
export function connectDesk(player: Player, faded: () => void) {
  for (const name of TRACKS) {
    const fader = field(`#${name}-fader`);
    fader.addEventListener("input", () => { player.setFader(name, Number(fader.value)); showFaders(player); });
    fader.addEventListener("change", faded);
  }
  player.addEventListener("state", () => {
    const play = button("#play");
    play.textContent = player.speed ? "❚❚" : "▶";
    play.ariaLabel = player.speed ? "Pause" : "Play";
  });
  showFaders(player);
  showMeter(player, QUIETEST_DB);
}

function showFaders({ decibels }: Player) {
  const values = TRACKS.map((name) => `${name} ${decibels[name] <= -40 ? "off" : `${decibels[name]} dB`}`);
  find<HTMLOutputElement>("#fader-values").value = values.join(", ");
}

/** Show the level now, and its highest value, which falls slowly; once per frame of the screen. */
function showMeter(player: Player, before: number) {
  const level = Math.min(0, Math.max(QUIETEST_DB, player.level())), held = Math.max(level, before - FALL_DB);
  const percent = (decibels: number) => 100 * (1 - decibels / QUIETEST_DB);
  find("#meter div").style.clipPath = `inset(0 ${100 - percent(level)}% 0 0)`;
  find("#meter i").style.left = `${percent(held)}%`;
  find("#meter").ariaValueNow = String(Math.round(level));
  requestAnimationFrame(() => showMeter(player, held));
}

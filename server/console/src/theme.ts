/** Colours: as the system has them, or as somebody chose. */
export type Theme = "auto" | "dark" | "light"

const PLACE = "facesocial.theme"

export function theme(): Theme {
  const kept = localStorage.getItem(PLACE)
  return kept === "dark" || kept === "light" ? kept : "auto"
}

export function setTheme(theme: Theme) {
  if (theme === "auto") localStorage.removeItem(PLACE)
  else localStorage.setItem(PLACE, theme)
  showTheme()
}

export function showTheme() {
  const chosen = theme()
  if (chosen === "auto") delete document.documentElement.dataset["theme"]
  else document.documentElement.dataset["theme"] = chosen
}

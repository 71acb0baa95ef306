import { render } from "preact"
import { App } from "./app"
import { showTheme } from "./theme"
import "./style.css"

showTheme()
const place = document.getElementById("app")
if (place) render(<App />, place)

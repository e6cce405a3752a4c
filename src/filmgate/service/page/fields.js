// The settings of a job: controls made from the JSON schemas of the tasks, and what was set.

import { $, make, setText } from "./elements.js";
import { toWords } from "./words.js";

const PRIMARY_COUNT = 3; // settings of a task that are shown at once; the others are one click away
const HIDDEN = ["weights", "overwrite", "path"];
const RARE = [".m4v", ".nut", ".y4m"]; // containers that few players know
const RECORDS = { ".jsonl": "JSON Lines", ".parquet": "Parquet", ".txt": "text of the MOT challenge", ".json": "COCO", ".html": "a page" };

const listParts = (schema) => schema.anyOf ?? [schema];
const listKinds = (schema) => listParts(schema).flatMap((part) => part.enum ? ["enum"] : part.type ?? []);
const findChoices = (schema) => listParts(schema).find((part) => part.enum)?.enum ?? null;
const isFile = (schema) => listParts(schema).some((part) => part.$ref?.endsWith("/Reference"));
const isNumber = (kinds) => kinds.includes("integer") || kinds.includes("number");

export class Fields {
  /**
   * `forms`: the answer of GET /v1/tasks. `onChange` is called after each change of a setting.
   * `files` has `choose(name, file)` for files of a task, and `describe(name)` for what became of them.
   */
  constructor(forms, onChange, files) {
    [this.forms, this.onChange, this.files] = [forms, onChange, files];
    this.values = { source: {}, output: {}, limits: {}, ...Object.fromEntries(forms.tasks.map((task) => [`task ${task.name}`, {}])) };
    this.name = (forms.tasks.find((task) => task.name === "upscale") ?? forms.tasks[0]).name;
  }

  get task() { return this.forms.tasks.find((task) => task.name === this.name); }

  /** What the user has set of a group: "task", "source", "output" or "limits". */
  valuesOf(group) { return this.values[group === "task" ? `task ${this.name}` : group]; }

  set(group, name, value, standard) {
    const values = this.valuesOf(group);
    if (value === undefined || value === standard) delete values[name];
    else values[name] = value;
    this.clearWrong(`field-${group}-${name}`);
    this.onChange();
  }

  /** The parts of a job that are settings, as the API takes them; `upload`: the id of the source. */
  buildJob(upload) {
    const options = this.task.models.map((role) => this.findFamily(role)?.properties ?? {});
    return {
      source: { upload, ...this.values.source },
      tasks: [{ task: this.name, ...pick(this.valuesOf("task"), this.task.properties, ...options) }],
      output: pick(this.values.output, { suffix: null }, this.outputFields),
      limits: this.values.limits,
    };
  }

  /** The inputs besides the video that must be given and are not. */
  get missingInputs() { return this.task.needed_inputs.filter((name) => !(name in this.valuesOf("task"))); }

  get suffix() { return this.values.output.suffix ?? (this.task.makes_records ? ".jsonl" : ".mp4"); }

  /** The settings of the kind of result that is chosen. */
  get outputFields() {
    const { output } = this.forms;
    return output.suffixes.records.includes(this.suffix) ? output.records : output.video;
  }

  findFamily(role) {
    const chosen = this.valuesOf("task")[role.field] ?? role.default;
    return role.families.find((family) => family.name === chosen);
  }

  show() {
    $("task-list").replaceChildren(...this.forms.tasks.map((task) => make("label", { class: "task" },
      make("input", {
        type: "radio", name: "task", value: task.name, class: "cover", checked: task.name === this.name,
        onchange: () => { this.name = task.name; this.showSettings(); this.onChange(); },
      }),
      make("strong", {}, toWords(task.name)),
      make("span", { class: "muted" }, task.summary))));
    this.showSettings();
  }

  /** Make the fields of the task and of the models that are chosen, the rare ones in groups. */
  showSettings() {
    const { task } = this;
    const [main, ...further] = task.models;
    const roles = new Set([...task.models.map((role) => role.field), ...HIDDEN, "device", ...(task.makes_records ? ["draw"] : [])]);
    const own = Object.entries(task.properties).filter(([name]) => !roles.has(name));
    const [plain, files] = [own.filter(([, schema]) => !isFile(schema)), own.filter(([, schema]) => isFile(schema))];
    const isNeeded = ([name]) => task.needed_inputs.includes(name);
    const field = (group) => ([name, schema]) => this.makeField(group, name, schema);
    const shared = (group, fields) => Object.entries(fields)
      .filter(([name, schema]) => !HIDDEN.includes(name) && !isFile(schema)).map(field(group));
    const more = [...plain.slice(PRIMARY_COUNT).map(field("task")), ...(main ? this.makeOptions(main) : []),
      ...further.flatMap((role) => [this.makeModelField(role), ...this.makeOptions(role)]),
      ...files.filter((file) => !isNeeded(file)).map(field("task")),
      ...(task.properties.device ? [this.makeField("task", "device", task.properties.device)] : [])];
    $("settings").replaceChildren(make("div", { class: "card settings-card", role: "group", "aria-label": "Settings" },
      make("div", { class: "fields" }, files.filter(isNeeded).map(field("task")), main && this.makeModelField(main), plain.slice(0, PRIMARY_COUNT).map(field("task")),
        this.makeFormatField()),
      makeGroup("More settings", more),
      makeGroup("Part of the video, and how it is read", shared("source", this.forms.source)),
      makeGroup("Encoding of the result", shared("output", this.outputFields)),
      makeGroup("Memory and speed", shared("limits", this.forms.limits))));
  }

  /** The field of a model: its families with their summaries, those without weights disabled. */
  makeModelField(role) {
    const family = this.findFamily(role);
    const id = `field-task-${role.field}`;
    const options = role.families.map((one) => make("option", {
      value: one.name, selected: one === family, disabled: one.is_available === false,
    }, one.is_available === false ? `${one.name} (its weights are not on this server)` : one.name));
    if (role.default === null) options.unshift(make("option", { value: "", selected: !family }, "none"));
    const choose = (event) => {
      this.set("task", role.field, event.target.value || null, role.default);
      this.showSettings();
      $(id).focus();
    };
    return wrap(id, role.field, make("select", { id, "aria-describedby": `${id}-help ${id}-wrong`, onchange: choose }, options),
      family?.summary ?? this.task.properties[role.field]?.description);
  }

  makeOptions(role) {
    return Object.entries(this.findFamily(role)?.properties ?? {}).filter(([, schema]) => !isFile(schema))
      .map(([name, schema]) => this.makeField("task", name, schema));
  }

  makeFormatField() {
    const { makes_records: makesRecords } = this.task;
    const { suffixes } = this.forms.output;
    const choices = [...(makesRecords ? suffixes.records : []), ...suffixes.video.filter((suffix) => !RARE.includes(suffix))];
    if (!choices.includes(this.values.output.suffix)) delete this.values.output.suffix;
    const name = (suffix) => suffixes.records.includes(suffix) ? `Records: ${RECORDS[suffix] ?? "a file"} (${suffix})` :
      `${makesRecords ? "Video with drawings" : "Video"} (${suffix})`;
    const id = "field-output-suffix";
    const choose = (event) => {
      this.set("output", "suffix", event.target.value);
      this.showSettings();
      $(id).focus();
    };
    return wrap(id, "Result", make("select", { id, "aria-describedby": `${id}-wrong`, onchange: choose },
      choices.map((suffix) => make("option", { value: suffix, selected: suffix === this.suffix }, name(suffix)))));
  }

  /** A labelled control for one setting, made from its JSON schema. */
  makeField(group, name, schema) {
    const id = `field-${group}-${name}`;
    const value = this.valuesOf(group)[name] ?? null;
    const kinds = listKinds(schema);
    const set = (given) => this.set(group, name, given, schema.default);
    const shared = { id, "aria-describedby": `${id}-help ${id}-wrong` };
    if (isFile(schema)) {
      const control = make("input", { ...shared, type: "file", onchange: (event) => this.files.choose(name, event.target.files[0]) });
      return wrap(id, name, control, this.files.describe(name) || schema.description);
    }
    if (kinds.includes("boolean") && !kinds.includes("null")) {
      const box = make("input", { ...shared, type: "checkbox", checked: value ?? schema.default ?? false, onchange: (event) => set(event.target.checked) });
      return make("div", { class: "check" }, box, make("label", { for: id }, toWords(name)), ...makeNotes(id, schema.description));
    }
    if (kinds.includes("enum") || kinds.includes("boolean")) {
      const choices = findChoices(schema) ?? [true, false];
      const options = choices.map((choice) => make("option", { value: JSON.stringify(choice), selected: choice === (value ?? schema.default) }, String(choice)));
      if (kinds.includes("null")) options.unshift(make("option", { value: "null", selected: value === null }, "default"));
      return wrap(id, name, make("select", { ...shared, onchange: (event) => set(JSON.parse(event.target.value)) }, options), schema.description);
    }
    const standard = [schema.default ?? []].flat();
    return wrap(id, name, make("input", {
      ...shared, type: "text", inputMode: isNumber(kinds) ? "decimal" : "text", autocomplete: "off", spellcheck: false,
      value: value === null ? "" : [value].flat().join(", "), placeholder: standard.length ? standard.join(", ") : "default",
      oninput: (event) => set(readText(event.target.value.trim(), kinds)),
    }), schema.description);
  }

  clearWrong(id) {
    $(id)?.removeAttribute("aria-invalid");
    if ($(`${id}-wrong`)) setText($(`${id}-wrong`), "");
  }

  /** Show an error at the field that it points to; return its control, null if there is none. */
  showWrong(pointer, text) {
    const [first, second, third] = pointer.split("/").slice(1);
    const id = first === "tasks" ? `field-task-${third}` : `field-${first}-${second}`;
    const control = $(id);
    if (!control) return null;
    control.setAttribute("aria-invalid", "true");
    control.closest("details")?.setAttribute("open", "");
    setText($(`${id}-wrong`), text);
    return control;
  }
}

/** The values whose names are in one of the `known`. */
function pick(values, ...known) {
  return Object.fromEntries(Object.entries(values).filter(([name]) => known.some((names) => name in names)));
}

function makeGroup(title, fields) {
  const isOpen = [...document.querySelectorAll("#settings details[open]")].some((element) => element.dataset.name === title);
  return fields.length > 0 && make("details", { "data-name": title, open: isOpen },
    make("summary", {}, title), make("div", { class: "fields" }, fields));
}

function makeNotes(id, help) {
  return [help && make("p", { class: "help", id: `${id}-help` }, help), make("p", { class: "wrong", id: `${id}-wrong` })];
}

function wrap(id, name, control, help) {
  return make("div", { class: "field" }, make("label", { for: id }, toWords(name)), control, ...makeNotes(id, help));
}

/** A value of the kinds that a schema allows; text that is no number is sent as it is. */
function readText(text, kinds) {
  if (text === "") return undefined;
  if (kinds.includes("array")) return text.split(/[\s,]+/).filter(Boolean);
  if (isNumber(kinds) && /^-?\d+(\.\d+)?$/.test(text)) {
    return kinds.includes("string") && text.includes(".") ? text : Number(text); // as text, 0.1 stays exact
  }
  return text;
}

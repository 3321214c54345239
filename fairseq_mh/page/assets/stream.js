// Asks the server. What it refuses is an Error whose message is one sentence for the page.

const ask = async (path, request, signal) => {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request), signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is fairseq-mh page still running?");
  }
  if (!answer.ok) throw new Error((await answer.json()).message);
  return answer;
};

// Ask for a translation, and call `show` with every event of it as it comes.
export async function translate(request, show, signal) {
  const answer = await ask("translate", request, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", ended = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const event = JSON.parse(line);
      if (event.kind === "error") throw new Error(event.message);
      ended ||= event.kind === "done";
      show(event);
    }
  }
  if (!ended) throw new Error("The server ended before the translation did.");
}

export const alternatives = async (request) => (await (await ask("alternatives", request)).json()).alternatives;

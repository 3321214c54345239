// Sends requests to the server. A refused request throws an Error whose message is one sentence for the page.

const ENDED = "The server has ended before its answer was complete. Start fairseq-mh page again, and repeat what you did.";

// Awaits a part of an answer; it stays away if the server ends meanwhile.
const part = async (promise) => {
  try {
    return await promise;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(ENDED);
  }
};

const post = async (path, request, signal) => {
  let response;
  try {
    response = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request), signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. If it has ended, start fairseq-mh page again.");
  }
  if (!response.ok) throw new Error((await part(response.json())).message);
  return response;
};

// Requests a translation, and calls `show` with each of its events as it arrives.
export async function translate(request, show, signal) {
  const response = await post("translate", request, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", ended = false;
  for (;;) {
    const { value, done } = await part(reader.read());
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
  if (!ended) throw new Error(ENDED);
}

export const alternatives = async (request) => (await part((await post("alternatives", request)).json())).alternatives;

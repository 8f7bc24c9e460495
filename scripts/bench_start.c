// A plain program over libllama: load, one prompt through the model's chat template, one token.
// What `localllm chat FILE -p TEXT` does, without localllm: scripts/bench_start.py times both.
//
//     bench_start MODEL TEXT n_ctx n_batch n_ubatch n_threads n_gpu_layers use_mmap repack

#include "llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void quiet(enum ggml_log_level level, const char *text, void *data) {
    (void)level, (void)text, (void)data;
}

static int fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 10) return fail("nine arguments, see the first lines of the source");
    llama_log_set(quiet, NULL);
    llama_backend_init();

    struct llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = atoi(argv[7]);
    model_params.load_mode = atoi(argv[8]) ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
    model_params.use_extra_bufts = atoi(argv[9]) != 0;
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    if (!model) return fail("the model does not load");

    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = atoi(argv[3]);
    params.n_batch = atoi(argv[4]);
    params.n_ubatch = atoi(argv[5]);
    params.n_threads = params.n_threads_batch = atoi(argv[6]);
    params.n_outputs_max = 1;
    params.swa_full = false;
    params.no_perf = true;
    struct llama_context *context = llama_init_from_model(model, params);
    if (!context) return fail("there is no context");

    const char *template = llama_model_chat_template(model, NULL);
    struct llama_chat_message message = {"user", argv[2]};
    static char text[65536];
    int length = -1;
    if (template) length = llama_chat_apply_template(template, &message, 1, true, text, sizeof text);
    if (length < 0)  // none, or one that llama.cpp does not recognise: about as many tokens
        length = llama_chat_apply_template("chatml", &message, 1, true, text, sizeof text);
    if (length < 0 || length > (int)sizeof text) return fail("the prompt is too long");

    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    static llama_token tokens[65536];
    int n_prompt = llama_tokenize(vocab, text, length, tokens, 65536, true, true);
    if (n_prompt <= 0) return fail("the prompt has no tokens");

    struct llama_sampler *greedy = llama_sampler_init_greedy();
    for (int done = 0; done < n_prompt; done += atoi(argv[4])) {
        int n = n_prompt - done < atoi(argv[4]) ? n_prompt - done : atoi(argv[4]);
        if (llama_decode(context, llama_batch_get_one(tokens + done, n))) return fail("no decode");
    }
    llama_token token = llama_sampler_sample(greedy, context, -1);
    char piece[256];
    int n_piece = llama_token_to_piece(vocab, token, piece, sizeof piece, 0, true);
    if (n_piece > 0) write(1, piece, n_piece);
    fprintf(stderr, "%d\n", n_prompt);
    _exit(0);
}

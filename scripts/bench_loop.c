// The yardstick of bench_loop.py: llama.cpp driven from C, with nothing around it.
//
//   bench_loop MODEL N_THREADS N_CTX N_BATCH N_UBATCH
//
// It loads the model, prints "ready", then answers lines on stdin with wall and processor nanoseconds:
//   tg N      as llama-bench's text generation: decode, synchronize, a random next token
//   pp N      as llama-bench's prompt processing: random tokens in batches, one synchronize
//   greedy N  as a chat: sample, decode; from the first token drawn to the last, no text made
//   usual N   the same with top-k, top-p, min-p, temperature and a draw

#include "ggml-cpu.h"
#include "llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long long clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

struct times {
    long long wall_ns;
    long long cpu_ns; // of all threads
};

static struct times now(void) {
    struct times t = {clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
    return t;
}

static struct times since(struct times began) {
    struct times t = now();
    t.wall_ns -= began.wall_ns;
    t.cpu_ns -= began.cpu_ns;
    return t;
}

static void quiet(enum ggml_log_level level, const char * text, void * data) {
    (void) data;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

static void decode(struct llama_context * ctx, llama_token * token) {
    if (llama_decode(ctx, llama_batch_get_one(token, 1)) != 0) {
        fprintf(stderr, "llama_decode failed\n");
        exit(1);
    }
}

static struct times tg(struct llama_context * ctx, int n_vocab, int n) {
    llama_memory_clear(llama_get_memory(ctx), false);
    llama_token token = rand() % n_vocab;
    const struct times began = now();
    for (int i = 0; i < n; i++) {
        decode(ctx, &token);
        llama_synchronize(ctx);
        token = rand() % n_vocab;
    }
    return since(began);
}

static struct times pp(struct llama_context * ctx, int n_vocab, int n) {
    llama_memory_clear(llama_get_memory(ctx), false);
    llama_token * tokens = malloc(n * sizeof(llama_token));
    for (int i = 0; i < n; i++) {
        tokens[i] = rand() % n_vocab;
    }
    const int n_batch = llama_n_batch(ctx);
    const struct times began = now();
    for (int i = 0; i < n; i += n_batch) {
        const int n_now = n - i < n_batch ? n - i : n_batch;
        if (llama_decode(ctx, llama_batch_get_one(tokens + i, n_now)) != 0) {
            fprintf(stderr, "llama_decode failed\n");
            exit(1);
        }
    }
    llama_synchronize(ctx);
    const struct times took = since(began);
    free(tokens);
    return took;
}

static struct times chat(struct llama_context * ctx, llama_token first, int n, int usual) {
    llama_memory_clear(llama_get_memory(ctx), false);
    struct llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (usual) {
        llama_sampler_chain_add(chain, llama_sampler_init_top_k(40));
        llama_sampler_chain_add(chain, llama_sampler_init_top_p(0.95f, 1));
        llama_sampler_chain_add(chain, llama_sampler_init_min_p(0.05f, 1));
        llama_sampler_chain_add(chain, llama_sampler_init_temp(0.8f));
        llama_sampler_chain_add(chain, llama_sampler_init_dist(1));
    } else {
        llama_sampler_chain_add(chain, llama_sampler_init_greedy());
    }
    decode(ctx, &first);
    llama_token token = llama_sampler_sample(chain, ctx, -1);
    const struct times began = now();
    for (int i = 1; i < n; i++) {
        decode(ctx, &token);
        token = llama_sampler_sample(chain, ctx, -1);
    }
    const struct times took = since(began);
    llama_sampler_free(chain);
    return took;
}

int main(int argc, char ** argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: %s MODEL N_THREADS N_CTX N_BATCH N_UBATCH\n", argv[0]);
        return 2;
    }
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params mparams = llama_model_default_params();
    mparams.load_mode = LLAMA_LOAD_MODE_MMAP;
    struct llama_model * model = llama_model_load_from_file(argv[1], mparams);
    if (model == NULL) {
        return 1;
    }
    struct llama_context_params cparams = llama_context_default_params();
    cparams.n_threads = cparams.n_threads_batch = atoi(argv[2]);
    cparams.n_ctx = atoi(argv[3]);
    cparams.n_batch = atoi(argv[4]);
    cparams.n_ubatch = atoi(argv[5]);
    cparams.n_outputs_max = 1;
    cparams.swa_full = false;
    struct llama_context * ctx = llama_init_from_model(model, cparams);
    if (ctx == NULL) {
        return 1;
    }
    struct ggml_threadpool_params tparams = ggml_threadpool_params_default(atoi(argv[2]));
    struct ggml_threadpool * pool = ggml_threadpool_new(&tparams); // as llama-bench does
    llama_attach_threadpool(ctx, pool, NULL);
    const struct llama_vocab * vocab = llama_model_get_vocab(model);
    const int n_vocab = llama_vocab_n_tokens(vocab);
    printf("ready\n");
    fflush(stdout);
    char test[16];
    int n;
    while (scanf("%15s %d", test, &n) == 2) {
        const struct times t = strcmp(test, "tg") == 0   ? tg(ctx, n_vocab, n)
                               : strcmp(test, "pp") == 0 ? pp(ctx, n_vocab, n)
                                                         : chat(ctx, llama_vocab_bos(vocab), n,
                                                                strcmp(test, "usual") == 0);
        printf("%lld %lld\n", t.wall_ns, t.cpu_ns);
        fflush(stdout);
    }
    llama_free(ctx);
    ggml_threadpool_free(pool);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}

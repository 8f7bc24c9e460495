// Prints the hyperparameters that llama.cpp reads from GGUF headers, one JSON object per line.
// Built and run by record_hparams.py, against llama.cpp's own internal headers.
#include "llama.h"
#include "llama-model.h"
#include "llama-model-loader.h"
#include "llama-hparams.h"
#include <cstdio>
#include <memory>
#include <string>
#include <unistd.h>
#include <sys/wait.h>

template <typename F> static void list(const char * key, uint32_t n, F f) {
    printf(", \"%s\": [", key);
    for (uint32_t i = 0; i < n; ++i) printf("%s%lld", i ? "," : "", (long long) f(i));
    printf("]");
}
static void one(const char * key, long long v) { printf(", \"%s\": %lld", key, v); }

static void dump(const char * path) {
    llama_model_params params = llama_model_default_params();
    std::vector<std::string> splits;
    llama_model_loader ml(nullptr, nullptr, nullptr, path, splits, nullptr, LLAMA_LOAD_MODE_NONE, false, true, false, nullptr, nullptr);
    std::unique_ptr<llama_model> model(llama_model_create(ml, params));
    auto * base = dynamic_cast<llama_model_base *>(model.get());
    base->hparams.vocab_only = false;
    base->hparams.no_alloc = true;
    base->load_hparams(ml);
    const llama_hparams & h = base->hparams;
    const uint32_t n = h.n_layer_all;
    printf("{\"file\": \"%s\"", path);
    one("n_ctx_train", h.n_ctx_train); one("n_embd", h.n_embd); one("n_embd_out", h.n_embd_out());
    one("n_layer", n); one("n_layer_nextn", h.n_layer_nextn);
    one("n_embd_head_k", h.n_embd_head_k_full); one("n_embd_head_v", h.n_embd_head_v_full);
    one("n_embd_head_k_swa", h.n_embd_head_k_swa); one("n_embd_head_v_swa", h.n_embd_head_v_swa);
    one("n_rot", h.n_rot_full); one("n_rot_swa", h.n_rot_swa);
    one("n_swa", h.n_swa); one("swa_type", h.swa_type);
    one("n_expert", h.n_expert); one("n_expert_shared", h.n_expert_shared); one("n_ff_shexp", h.n_ff_shexp);
    one("n_lora_kv", h.n_lora_kv); one("is_mla", h.is_mla());
    one("n_embd_head_k_mla", h.n_embd_head_k_mla_impl); one("n_embd_head_v_mla", h.n_embd_head_v_mla_impl);
    one("ssm_d_conv", h.ssm_d_conv); one("ssm_d_inner", h.ssm_d_inner); one("ssm_d_state", h.ssm_d_state);
    one("ssm_dt_rank", h.ssm_dt_rank); one("ssm_n_group", h.ssm_n_group);
    one("wkv_head_size", h.wkv_head_size); one("token_shift_count", h.token_shift_count);
    one("n_shortconv_l_cache", h.n_shortconv_l_cache);
    one("n_embd_head_kda", h.n_embd_head_kda); one("n_embd_head_la", h.n_embd_head_la);
    one("causal_attn", h.causal_attn); one("router_layer", h.router_layer);
    one("n_layer_kv_from_start", h.n_layer_kv_from_start);
    one("n_embd_r", h.n_embd_r()); one("n_embd_s", h.n_embd_s());
    one("indexer_n_head", h.indexer_n_head); one("indexer_head_size", h.indexer_head_size);
    list("n_head", n, [&](uint32_t i) { return h.n_head(i); });
    list("n_head_kv", n, [&](uint32_t i) { return h.n_head_kv(i); });
    list("n_ff", n, [&](uint32_t i) { return h.n_ff(i); });
    list("n_ff_exp", n, [&](uint32_t i) { return h.n_ff_exp(i); });
    list("n_expert_used", n, [&](uint32_t i) { return h.n_expert_used(i); });
    list("is_swa", n, [&](uint32_t i) { return h.is_swa(i); });
    list("is_recurrent", n, [&](uint32_t i) { return h.is_recr(i); });
    list("n_embd_k_gqa", n, [&](uint32_t i) { return h.n_embd_k_gqa(i); });
    list("n_embd_v_gqa", n, [&](uint32_t i) { return h.n_embd_v_gqa(i); });
    printf("}\n");
}

int main(int argc, char ** argv) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    for (int i = 1; i < argc; ++i) {
        fflush(stdout);
        // a failed assertion ends the process: a child each
        pid_t pid = fork();
        if (pid == 0) {
            try { dump(argv[i]); }
            catch (const std::exception & e) { printf("{\"file\": \"%s\", \"refused\": \"%s\"}\n", argv[i], e.what()); }
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (!WIFEXITED(status)) { printf("{\"file\": \"%s\", \"refused\": \"assertion\"}\n", argv[i]); }
    }
    return 0;
}

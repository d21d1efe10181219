// The driver's modules: PTX, translated, compiled and loaded.

struct CUfunc_st {
  struct CUmod_st* module;
  std::string name;
  std::vector<int> sizes;  // of its parameters
  int static_shared = 0, most_threads = 1024, registers = 0, spilled = 0;
  int most_dynamic = 48 << 10;
};
struct CUmod_st {
  void* library;
  int (*has)(const char*);
  int (*launch)(const char*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void**);
  const char* (*error)();
  bool (*counts)(unsigned long long*);
  void* (*global)(const char*, unsigned long long*);
  int (*attribute)(const char*, int);
  std::map<std::string, std::vector<int>> parameters;
  std::map<std::string, int> most_threads, registers, spilled;
  std::map<std::string, CUfunc_st> functions;
};

// The sizes of a kernel's parameters and its largest block, from the text of its PTX.
static void read_entries(CUmod_st* module, const std::string& text) {
  static const std::map<std::string, int> SIZES = {{".b8", 1},  {".u8", 1},  {".s8", 1},  {".b16", 2}, {".u16", 2},
                                                   {".s16", 2}, {".f16", 2}, {".b32", 4}, {".u32", 4}, {".s32", 4},
                                                   {".f32", 4}, {".b64", 8}, {".u64", 8}, {".s64", 8}, {".f64", 8}};
  for (size_t at = text.find(".entry "); at != std::string::npos; at = text.find(".entry ", at + 1)) {
    size_t name_end = text.find_first_of("( \n\t{", at + 7), body = text.find('{', at);
    std::string name = text.substr(at + 7, name_end - at - 7);
    std::vector<int>& sizes = module->parameters[name];
    std::string head = text.substr(name_end, body - name_end);
    size_t close = head.rfind(')');
    std::istringstream parameters(close == std::string::npos ? "" : head.substr(0, close));
    for (std::string one; std::getline(parameters, one, ',');) {
      std::istringstream words(
          one.substr(one.find(".param") == std::string::npos ? one.size() : one.find(".param") + 6));
      int size = 0;
      for (std::string word; words >> word;) {
        if (SIZES.count(word)) size = SIZES.at(word);
        size_t bracket = word.find('[');
        if (bracket != std::string::npos) size *= atoi(word.c_str() + bracket + 1);
      }
      if (size) sizes.push_back(size);
    }
    for (const char* directive : {".maxntid", ".reqntid"}) {
      size_t found = head.find(directive);
      if (found == std::string::npos) continue;
      int x = 1, y = 1, z = 1;
      sscanf(head.c_str() + found + 8, " %d , %d , %d", &x, &y, &z);
      module->most_threads[name] = x * y * z;
    }
  }
}

static std::string quoted(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// What NVIDIA's assembler says of each kernel: registers and spills. True when it accepts the program.
static bool assemble(CUmod_st* module, const std::string& base) {
  const char* ptxas = getenv("FAKE_CUDA_PTXAS");
  if (!ptxas || !*ptxas) return true;
  std::string info = base + ".sm" + std::to_string(ARCH) + ".info";
  if (access(info.c_str(), R_OK)) {
    std::string partial = info + "." + std::to_string(getpid());
    std::string command = quoted(ptxas) + " -v -arch=sm_" + std::to_string(ARCH) + " " + quoted(base + ".ptx") +
                          " -o /dev/null > " + quoted(partial) + " 2>&1";
    if (system(command.c_str())) {
      say("NVIDIA's assembler refuses a program: %s", command.c_str());
      std::ifstream file(partial);
      for (std::string line; std::getline(file, line);) say("    %s", line.c_str());
      return false;
    }
    rename(partial.c_str(), info.c_str());
  }
  std::ifstream file(info);
  std::string name;
  for (std::string line; std::getline(file, line);) {
    char found[4096];
    int a, b, c;
    const char* start;
    if ((start = strstr(line.c_str(), "Compiling entry function '")) &&
        sscanf(start, "Compiling entry function '%4095[^']", found) == 1)
      name = found;
    if ((start = strstr(line.c_str(), "Used ")) && sscanf(start, "Used %d registers", &a) == 1)
      module->registers[name] = a;
    if (sscanf(line.c_str(), " %d bytes stack frame, %d bytes spill stores, %d bytes spill", &a, &b, &c) == 3)
      module->spilled[name] = b;
  }
  return true;
}

static CUresult load(CUmod_st** out, const char* image) {
  static bool registered = (atexit(report_tally), true);
  (void)registered;
  if (!memcmp(image, "\177ELF", 4)) {
    say("a cubin cannot be run here: set CUPY_COMPILE_WITH_PTX=1");
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  std::string text = image;
  size_t target = text.find(".target sm_");
  if (target == std::string::npos) return say("this is neither PTX nor a cubin"), CUDA_ERROR_INVALID_IMAGE;
  if (atoi(text.c_str() + target + 11) > ARCH) {
    say("a program for sm_%d does not run on sm_%d", atoi(text.c_str() + target + 11), ARCH);
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  uint64_t a = 1469598103934665603ull, b = 88172645463325252ull;  // FNV, twice
  for (unsigned char c : text) a = (a ^ c) * 1099511628211ull, b = (b ^ (c + 17u)) * 1099511628211ull ^ (b >> 29);
  char hash[40];
  snprintf(hash, sizeof hash, "%016lx%016lx", a, b);
  std::string folder = setting("FAKE_CUDA_CACHE", P_tmpdir "/fakecuda-cache");
  mkdir(folder.c_str(), 0777);
  std::string base = folder + "/" + hash, translator = setting("FAKE_CUDA_TRANSLATOR", "translate.py");
  std::string mine = base + "." + std::to_string(getpid());
  std::string flags = std::string(RACES ? " RACES" : "") + (COUNTS ? " COUNTS" : "");
  std::string library = base + (RACES ? ".races" : "") + (COUNTS ? ".counts" : "") + ".so";
  if (access(library.c_str(), R_OK)) {
    std::ofstream(mine + ".ptx") << text;
    rename((mine + ".ptx").c_str(), (base + ".ptx").c_str());
    std::string command = std::string(setting("FAKE_CUDA_PYTHON", "python3")) + " " + quoted(translator) + " " +
                          quoted(base + ".ptx") + " " + quoted(mine + ".so") + flags + " 1>&2";
    double start = seconds();
    if (system(command.c_str()) || access((mine + ".so").c_str(), R_OK)) {
      say("the translator failed: %s", command.c_str());
      return CUDA_ERROR_INVALID_PTX;
    }
    rename((mine + ".so").c_str(), library.c_str());
    TELL("translated %s in %.1f s", base.c_str(), seconds() - start);
  }
  auto module = std::make_unique<CUmod_st>();
  module->library = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module->library) return say("%s", dlerror()), CUDA_ERROR_INVALID_IMAGE;
  *(void**)&module->has = dlsym(module->library, "ptx_has");
  *(void**)&module->launch = dlsym(module->library, "ptx_launch");
  *(void**)&module->error = dlsym(module->library, "ptx_error");
  *(void**)&module->counts = dlsym(module->library, "ptx_counts");
  *(void**)&module->global = dlsym(module->library, "ptx_global");
  *(void**)&module->attribute = dlsym(module->library, "ptx_attribute");
  read_entries(module.get(), text);
  if (!assemble(module.get(), base)) return CUDA_ERROR_INVALID_PTX;
  *out = module.release();
  return CUDA_SUCCESS;
}

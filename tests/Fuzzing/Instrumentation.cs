using Mono.Cecil;
using Mono.Cecil.Cil;
using Mono.Cecil.Rocks;

namespace CCImage.Fuzzing;

/// <summary>Rewrites an assembly so that every basic block calls <see cref="Coverage.Hit"/> with its number.</summary>
internal static class Instrumentation
{
    /// <summary>Rewrites assemblies in their places; one that is rewritten already stays as it is.</summary>
    /// <param name="paths">The assemblies.</param>
    public static void Apply(IEnumerable<string> paths)
    {
        int block = 0;
        foreach (string path in paths) Apply(path, ref block);
    }

    private static void Apply(string path, ref int block)
    {
        using ModuleDefinition module = ModuleDefinition.ReadModule(new MemoryStream(File.ReadAllBytes(path)));
        string self = typeof(Coverage).Assembly.GetName().Name!;
        if (module.AssemblyReferences.Any(r => r.Name == self)) return;
        MethodReference hit = module.ImportReference(typeof(Coverage).GetMethod(nameof(Coverage.Hit))!);
        foreach (MethodDefinition method in module.GetAllTypes().SelectMany(t => t.Methods)
            .Where(m => m.HasBody && m.Body.Instructions.Count > 0).ToArray())
            Rewrite(method.Body, hit, ref block);
        module.Write(path);
        Console.WriteLine($"{path}: up to block {block}");
    }

    private static void Rewrite(MethodBody body, MethodReference hit, ref int block)
    {
        body.SimplifyMacros();
        var heads = new HashSet<Instruction> { body.Instructions[0] };
        foreach (Instruction instruction in body.Instructions)
        {
            if (instruction.Operand is Instruction target) heads.Add(target);
            if (instruction.Operand is Instruction[] targets) heads.UnionWith(targets);
            if (instruction.OpCode.FlowControl == FlowControl.Cond_Branch && instruction.Next is { } next) heads.Add(next);
        }

        var moved = new Dictionary<Instruction, Instruction>();
        ILProcessor code = body.GetILProcessor();
        foreach (Instruction head in body.Instructions.Where(heads.Contains).ToArray())
        {
            if (head.Previous?.OpCode.OpCodeType == OpCodeType.Prefix) continue;
            Instruction first = code.Create(OpCodes.Ldc_I4, block++ % Coverage.Size);
            code.InsertBefore(head, first);
            code.InsertBefore(head, code.Create(OpCodes.Call, hit));
            moved[head] = first;
        }

        foreach (Instruction instruction in body.Instructions)
        {
            if (instruction.Operand is Instruction target) instruction.Operand = Moved(target);
            if (instruction.Operand is Instruction[] targets) instruction.Operand = targets.Select(t => Moved(t)!).ToArray();
        }

        foreach (ExceptionHandler handler in body.ExceptionHandlers)
        {
            (handler.TryStart, handler.TryEnd) = (Moved(handler.TryStart), Moved(handler.TryEnd));
            (handler.HandlerStart, handler.HandlerEnd, handler.FilterStart) =
                (Moved(handler.HandlerStart), Moved(handler.HandlerEnd), Moved(handler.FilterStart));
        }

        body.OptimizeMacros();

        Instruction? Moved(Instruction? instruction) =>
            instruction is not null && moved.TryGetValue(instruction, out Instruction? first) ? first : instruction;
    }
}

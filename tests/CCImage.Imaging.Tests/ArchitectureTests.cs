using System.Collections.Immutable;
using System.Reflection;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Runtime.InteropServices;

namespace CCImage.Tests;

/// <summary>The direction of dependencies, read from the compiled assembly: signatures, fields, and every token in every method
/// body.</summary>
public class ArchitectureTests
{
    // A namespace may name those of its own row and of the rows below.
    private static readonly string[][] Rows =
    [
        ["CCImage"],
        ["CCImage.Restoring", "CCImage.Mounting"],
        ["CCImage.Sources", "CCImage.FileSystems", "CCImage.Partitions", "CCImage.Containers"],
        ["CCImage.Encryption", "CCImage.Compression", "CCImage.PropertyLists", "CCImage.Checksums"],
        ["CCImage.Storage", "CCImage.Platform"],
        ["CCImage.Binary", "CCImage.Components", "CCImage.Diagnostics"],
    ];

    // They meet at the storage contract and nowhere else.
    private static readonly (string From, string To)[] Forbidden =
    [
        ("CCImage.FileSystems", "CCImage.Containers"),
        ("CCImage.Containers", "CCImage.FileSystems"),
        ("CCImage.Sources", "CCImage.FileSystems"),
        ("CCImage.Sources", "CCImage.Containers"),
        ("CCImage.Partitions", "CCImage.FileSystems"),
        ("CCImage.Partitions", "CCImage.Containers"),
        ("CCImage.FileSystems", "CCImage.Partitions"),
        ("CCImage.Containers", "CCImage.Partitions"),
    ];

    // The words that all rows share: values without behaviour, and the one exception. Every other type of the root namespace is a job or
    // its result, and every other type of Sources belongs to its row.
    private static readonly HashSet<string> Vocabulary =
    [
        "CCImage.BackupImageFormat", "CCImage.BackupImageEncryption", "CCImage.BackupImagePartition", "CCImage.BackupImageVolume",
        "CCImage.PartitionScheme", "CCImage.VolumeKind", "CCImage.ImageFinding", "CCImage.ImageFindingGrade",
        "CCImage.ImageFileSystem", "CCImage.RestoreOwnership", "CCImage.ImageException", "CCImage.ImageErrorId",
        "CCImage.Sources.EntryKind", "CCImage.Sources.ExtendedAttribute", "CCImage.Sources.UnixTime",
    ];

    [Fact]
    public void Dependencies_point_downward_only()
    {
        using var file = new PEReader(File.OpenRead(typeof(DiskImage).Assembly.Location));
        var graph = new TypeGraph(file);
        string[] wrong =
        [
            .. from edge in graph.Edges
               where !Vocabulary.Contains($"{edge.To.Namespace}.{edge.To.Name}") && !Allowed(edge.From.Namespace, edge.To.Namespace)
               orderby edge.From.Namespace, edge.From.Name
               select $"{edge.From.Namespace}.{edge.From.Name} names {edge.To.Namespace}.{edge.To.Name}",
        ];
        Assert.True(wrong.Length == 0, string.Join(Environment.NewLine, wrong));
        Assert.NotEmpty(graph.Edges);
    }

    [Fact]
    public void Every_namespace_has_its_row()
    {
        using var file = new PEReader(File.OpenRead(typeof(DiskImage).Assembly.Location));
        string[] homeless =
            [.. new TypeGraph(file).Types.Where(t => RowOf(t.Namespace) < 0 && !IsCompilers(t.Name)).Select(t => $"{t.Namespace}.{t.Name}")
                .Distinct()];
        Assert.True(homeless.Length == 0, string.Join(Environment.NewLine, homeless));
    }

    [Fact]
    public void The_core_references_the_base_class_library_only()
    {
        string framework = RuntimeEnvironment.GetRuntimeDirectory();
        string[] foreign =
            [.. typeof(DiskImage).Assembly.GetReferencedAssemblies().Select(a => a.Name!)
                .Where(name => !File.Exists(Path.Combine(framework, name + ".dll")))];
        Assert.True(foreign.Length == 0, string.Join(", ", foreign));
    }

    private static bool IsCompilers(string name) => name.StartsWith('<') || name is "EmbeddedAttribute" or "NullableAttribute"
        or "NullableContextAttribute" or "RefSafetyRulesAttribute";

    private static int RowOf(string name) => Array.FindIndex(Rows, row => row.Contains(Folder(name)));

    private static string Folder(string name) => string.Join('.', name.Split('.').Take(2));

    private static bool Allowed(string from, string to)
    {
        int fromRow = RowOf(from), toRow = RowOf(to);
        return fromRow < 0 || toRow < 0 || (fromRow <= toRow && !Forbidden.Contains((Folder(from), Folder(to))));
    }

    /// <summary>Which of an assembly's own types name which others.</summary>
    private sealed class TypeGraph
    {
        private static readonly Dictionary<ushort,
            OpCode> OpCodesByValue = typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static)
            .Select(field => (OpCode)field.GetValue(null)!).ToDictionary(code => unchecked((ushort)code.Value));

        private readonly MetadataReader _metadata;
        private readonly PEReader _file;
        private readonly Collector _collector;

        public TypeGraph(PEReader file)
        {
            _file = file;
            _metadata = file.GetMetadataReader();
            _collector = new Collector(_metadata);
            foreach (TypeDefinitionHandle handle in _metadata.TypeDefinitions)
            {
                (string Namespace, string Name) from = Outermost(handle);
                Types.Add(from);
                _collector.Found.Clear();
                Collect(_metadata.GetTypeDefinition(handle));
                foreach (TypeDefinitionHandle to in _collector.Found) Edges.Add((from, Outermost(to)));
            }
        }

        public HashSet<(string Namespace, string Name)> Types { get; } = [];

        public HashSet<((string Namespace, string Name) From, (string Namespace, string Name) To)> Edges { get; } = [];

        private (string Namespace, string Name) Outermost(TypeDefinitionHandle handle)
        {
            TypeDefinition type = _metadata.GetTypeDefinition(handle);
            while (!type.GetDeclaringType().IsNil) type = _metadata.GetTypeDefinition(type.GetDeclaringType());
            return (_metadata.GetString(type.Namespace), _metadata.GetString(type.Name));
        }

        private void Collect(TypeDefinition type)
        {
            Add(type.BaseType);
            foreach (InterfaceImplementationHandle handle in type.GetInterfaceImplementations())
                Add(_metadata.GetInterfaceImplementation(handle).Interface);
            foreach (FieldDefinitionHandle handle in type.GetFields())
                _metadata.GetFieldDefinition(handle).DecodeSignature(_collector, null);
            foreach (MethodDefinitionHandle handle in type.GetMethods())
            {
                MethodDefinition method = _metadata.GetMethodDefinition(handle);
                method.DecodeSignature(_collector, null);
                if (method.RelativeVirtualAddress != 0) Collect(_file.GetMethodBody(method.RelativeVirtualAddress));
            }
        }

        private void Collect(MethodBodyBlock body)
        {
            if (!body.LocalSignature.IsNil) _metadata.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(_collector, null);
            BlobReader code = body.GetILReader();
            while (code.RemainingBytes > 0)
            {
                ushort value = code.ReadByte();
                if (value == 0xFE) value = (ushort)(0xFE00 | code.ReadByte());
                switch (OpCodesByValue[value].OperandType)
                {
                    case OperandType.InlineType or OperandType.InlineMethod or OperandType.InlineField or OperandType.InlineTok:
                        Add(System.Reflection.Metadata.Ecma335.MetadataTokens.EntityHandle(code.ReadInt32()));
                        break;
                    case OperandType.InlineSwitch:
                        int targets = code.ReadInt32(); // read first: it moves the offset itself
                        code.Offset += checked(targets * 4);
                        break;
                    case OperandType.InlineNone:
                        break;
                    case OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar:
                        code.Offset += 1;
                        break;
                    case OperandType.InlineVar:
                        code.Offset += 2;
                        break;
                    case OperandType.InlineI8 or OperandType.InlineR:
                        code.Offset += 8;
                        break;
                    default:
                        code.Offset += 4;
                        break;
                }
            }
        }

        private void Add(EntityHandle handle)
        {
            if (handle.IsNil) return;
            switch (handle.Kind)
            {
                case HandleKind.TypeDefinition:
                    _collector.Found.Add((TypeDefinitionHandle)handle);
                    break;
                case HandleKind.TypeSpecification:
                    _metadata.GetTypeSpecification((TypeSpecificationHandle)handle).DecodeSignature(_collector, null);
                    break;
                case HandleKind.MethodDefinition:
                    _collector.Found.Add(_metadata.GetMethodDefinition((MethodDefinitionHandle)handle).GetDeclaringType());
                    break;
                case HandleKind.FieldDefinition:
                    _collector.Found.Add(_metadata.GetFieldDefinition((FieldDefinitionHandle)handle).GetDeclaringType());
                    break;
                case HandleKind.MemberReference:
                    Add(_metadata.GetMemberReference((MemberReferenceHandle)handle).Parent);
                    break;
                case HandleKind.MethodSpecification:
                    MethodSpecification generic = _metadata.GetMethodSpecification((MethodSpecificationHandle)handle);
                    Add(generic.Method);
                    generic.DecodeSignature(_collector, null);
                    break;
            }
        }
    }

    /// <summary>Notes every type definition that a signature names; its own results are of no interest.</summary>
    private sealed class Collector(MetadataReader metadata) : ISignatureTypeProvider<int, object?>
    {
        public HashSet<TypeDefinitionHandle> Found { get; } = [];

        public int GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind)
        {
            Found.Add(handle);
            return 0;
        }

        public int GetTypeFromSpecification(
            MetadataReader reader, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind) =>
            metadata.GetTypeSpecification(handle).DecodeSignature(this, genericContext);

        public int GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind) => 0;

        public int GetArrayType(int elementType, ArrayShape shape) => 0;

        public int GetByReferenceType(int elementType) => 0;

        public int GetFunctionPointerType(MethodSignature<int> signature) => 0;

        public int GetGenericInstantiation(int genericType, ImmutableArray<int> typeArguments) => 0;

        public int GetGenericMethodParameter(object? genericContext, int index) => 0;

        public int GetGenericTypeParameter(object? genericContext, int index) => 0;

        public int GetModifiedType(int modifier, int unmodifiedType, bool isRequired) => 0;

        public int GetPinnedType(int elementType) => 0;

        public int GetPointerType(int elementType) => 0;

        public int GetPrimitiveType(PrimitiveTypeCode typeCode) => 0;

        public int GetSZArrayType(int elementType) => 0;
    }
}

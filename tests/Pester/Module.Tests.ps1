BeforeDiscovery {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $commands = Get-Command -Module CCImage -CommandType Cmdlet | ForEach-Object { @{ Name = $_.Name } }
    $pages = Get-ChildItem (Join-Path $RepositoryRoot 'docs/en-US') -Filter '*-*.md' | ForEach-Object {
        $page = $_.BaseName
        $number = 0
        $blocks = [regex]::Matches((Get-Content $_ -Raw), '(?ms)^### Example \d+: (?<title>.+?)$\s+```powershell\s(?<code>.+?)```') | ForEach-Object {
            @{ Title = $_.Groups['title'].Value.Trim(); Code = $_.Groups['code'].Value; Number = ++$number }
        }
        @{ Page = $page; Blocks = @($blocks) }
    }
}

BeforeAll { . (Join-Path $PSScriptRoot 'Common.ps1') }

Describe 'The module' {
    It 'has a valid manifest' { (Test-ModuleManifest $ManifestPath).Name | Should -Be 'CCImage' }

    It 'exports exactly its cmdlets, each named in the manifest' {
        $manifest = Import-PowerShellDataFile $ManifestPath
        $manifest.CmdletsToExport | Should -Not -Contain '*'
        (Get-Command -Module CCImage).CommandType | Sort-Object -Unique | Should -Be 'Alias', 'Cmdlet'
        (Get-Command -Module CCImage -CommandType Alias).Name | Should -Be $manifest.AliasesToExport
        (Get-Command -Module CCImage -CommandType Cmdlet).Name | Sort-Object | Should -Be ($manifest.CmdletsToExport | Sort-Object)
        (Get-Command -Module CCImage -CommandType Cmdlet).Name | Sort-Object |
            Should -Be 'Compress-BackupImage', 'ConvertTo-ReadOnlyImage', 'Dismount-BackupImage', 'Get-BackupImage', 'Get-BackupImageItem', 'Mount-BackupImage', 'New-BackupImage', 'Resize-BackupImage', 'Restore-BackupImage', 'Set-BackupImagePassphrase', 'Test-BackupImage', 'Test-FullFsyncSupport'
    }

    It 'uses approved verbs' {
        foreach ($command in Get-Command -Module CCImage -CommandType Cmdlet) { (Get-Verb $command.Verb) | Should -Not -BeNullOrEmpty -Because $command.Name }
    }

    It 'depends on no other module' { (Import-PowerShellDataFile $ManifestPath).ContainsKey('RequiredModules') | Should -BeFalse }

    It 'puts its public types into the default context, as type literals' { [CCImage.BackupImage].Assembly.GetName().Name | Should -Be 'CCImage.Imaging' }

    It 'has nothing that PSScriptAnalyzer finds' {
        if (-not (Get-Module PSScriptAnalyzer -ListAvailable)) { Set-ItResult -Skipped -Because 'PSScriptAnalyzer is not installed' }
        & (Join-Path $RepositoryRoot 'build.ps1') Analyze
    }
}

Describe 'The private assembly' {
    BeforeAll {
        # In a process of its own: what is loaded once stays loaded.
        $script = @"
            Import-Module '$ManifestPath'
            `$before = [AppDomain]::CurrentDomain.GetAssemblies().GetName().Name -contains 'CCImage.Private'
            `$assembly = [Reflection.Assembly]::Load('CCImage.Private')
            `$context = [Runtime.Loader.AssemblyLoadContext]::GetLoadContext(`$assembly)
            `$codec = [Activator]::CreateInstance(`$assembly.GetType('CCImage.Private.SharpZipLibCodecs'))
            `$zip = `$context.LoadFromAssemblyName('ICSharpCode.SharpZipLib')
            `$inDefault = [Runtime.Loader.AssemblyLoadContext]::Default.Assemblies.GetName().Name
            `$foreign = try { [Reflection.Assembly]::Load('ICSharpCode.SharpZipLib').GetName().Name } catch { 'not found' }
            `$seam = `$codec.GetType().GetInterfaces()[0].Assembly -eq [CCImage.BackupImage].Assembly
            Remove-Module CCImage
            @{ Before = `$before; Context = `$context.Name; IsDefault = `$context -eq [Runtime.Loader.AssemblyLoadContext]::Default
               InDefault = `$inDefault -contains 'CCImage.Private' -or `$inDefault -contains 'ICSharpCode.SharpZipLib'
               ZipContext = [Runtime.Loader.AssemblyLoadContext]::GetLoadContext(`$zip).Name; Foreign = `$foreign; Seam = `$seam } | ConvertTo-Json
"@
        $facts = Invoke-PowerShell $script | ConvertFrom-Json
    }

    It 'is not loaded by the import' { $facts.Before | Should -BeFalse }

    It 'is found by name, in a context of its own' {
        $facts.Context | Should -Be 'CCImage.Private'
        $facts.IsDefault | Should -BeFalse
    }

    It 'keeps its packages out of the default context, where another version may live' {
        $facts.InDefault | Should -BeFalse
        $facts.ZipContext | Should -Be 'CCImage.Private'
        $facts.Foreign | Should -Be 'not found'
    }

    It 'shares the types of the seam with the core' { $facts.Seam | Should -BeTrue }
}

Describe 'The help of <Name>' -ForEach $commands {
    BeforeAll {
        $command = Get-Command $Name
        $help = Get-Help $Name -Full
    }

    It 'has a synopsis and a description' {
        $help.Synopsis | Should -Not -BeNullOrEmpty
        $help.Synopsis | Should -Not -Match ([regex]::Escape($Name))
        ($help.description | Out-String).Trim() | Should -Not -BeNullOrEmpty
    }

    It 'describes every parameter, and none that is gone' {
        foreach ($parameter in Get-OwnParameter $command) {
            $text = ($help.parameters.parameter | Where-Object name -eq $parameter.Name).description | Out-String
            $text.Trim() | Should -Not -BeNullOrEmpty -Because $parameter.Name
            $text | Should -Not -Match '\{\{' -Because $parameter.Name
        }
        foreach ($documented in $help.parameters.parameter.name) { $command.Parameters.Keys | Should -Contain $documented }
    }

    It 'has at least three examples' { @($help.examples.example).Count | Should -BeGreaterOrEqual 3 }

    It 'says the types that come out' {
        $help.returnValues.returnValue.type.name | Should -Contain $command.OutputType[0].Name
    }

    It 'is generated from the page in docs/en-US as it is now' {
        $page = Get-Content (Join-Path $RepositoryRoot "docs/en-US/$Name.md") -Raw
        foreach ($example in $help.examples.example) { $page.ReplaceLineEndings("`n") | Should -BeLike "*$([WildcardPattern]::Escape($example.code.ReplaceLineEndings("`n")))*" }
        $page | Should -Match ([regex]::Escape($help.Synopsis))
    }
}

Describe 'The examples of <Page>' -ForEach $pages {
    BeforeAll {
        $playground = Join-Path $TestDrive $Page
        New-Playground $playground
        Push-Location $playground
    }
    AfterAll { Pop-Location }

    # Only macOS mounts.
    It 'run: <Title>' -ForEach $Blocks -Skip:(-not $IsMacOS -and $Page -like '*mount-*') {
        $null = . ([scriptblock]::Create($Code)) *>&1
    }
}

Describe 'Objects from a job' {
    BeforeAll {
        $folder = Join-Path $TestDrive 'job'
        New-Playground $folder
        $image = Start-Job { Import-Module $using:ManifestPath; Get-BackupImage (Join-Path $using:folder 'Backups/Disk.dmg') } | Receive-Job -Wait -AutoRemoveJob
    }

    It 'are deserialised' { $image.PSTypeNames[0] | Should -Be 'Deserialized.CCImage.BackupImage' }
    It 'pipe into Get-BackupImage' { ($image | Get-BackupImage).Path | Should -Be $image.Path }
    It 'pipe into Get-BackupImageItem' { @($image | Get-BackupImageItem).Count | Should -BeGreaterThan 3 }
    It 'pipe into ConvertTo-ReadOnlyImage' { ($image | ConvertTo-ReadOnlyImage -DestinationPath (Join-Path $folder 'Archive')).Format | Should -Be 'ReadOnlyZlib' }
    It 'pipe into Restore-BackupImage' { ($image | Restore-BackupImage -DestinationPath (Join-Path $folder 'Restored')).Entries | Should -BeGreaterThan 3 }
    It 'pipe into Resize-BackupImage' { { $image | Resize-BackupImage -SizeBytes 1GB -ErrorAction Stop } | Should -Throw -ErrorId 'UnsupportedFormat*' }
    It 'pipe into Test-BackupImage' { $image | Test-BackupImage | Should -BeTrue }
    It 'pipe into Test-FullFsyncSupport' { $image | Test-FullFsyncSupport | Should -BeOfType [bool] }
    It 'pipe into Set-BackupImagePassphrase' {
        $secret = ConvertTo-SecureString 'x' -AsPlainText -Force
        { $image | Set-BackupImagePassphrase -Passphrase $secret -NewPassphrase $secret -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument*'
    }
    It 'pipe into Mount-BackupImage, Dismount-BackupImage' -Skip:$IsMacOS {
        { $image | Mount-BackupImage } | Should -Throw -ErrorId 'PlatformNotSupported*'
        { $image | Dismount-BackupImage } | Should -Throw -ErrorId 'PlatformNotSupported*'
    }
    It 'pipe into New-BackupImage, as folders' {
        $source = Start-Job { Get-Item (Join-Path $using:folder 'Documents') } | Receive-Job -Wait -AutoRemoveJob
        ($source | New-BackupImage -Path (Join-Path $folder 'fromjob.dmg')).Path | Should -Be (Join-Path $folder 'fromjob.dmg')
    }
}

Describe 'Views' {
    BeforeAll {
        $image = [CCImage.BackupImage]@{ Path = '/somewhere/a.dmg'; Format = 'ReadOnlyZlib'; FormatCode = 'UDZO'; CapacityBytes = 10GB; StoredBytes = 1536 }
        $item = [CCImage.BackupImageItem]@{ ImagePath = '/a.dmg'; ItemPath = '/b'; Name = 'b'; Kind = 'SymbolicLink'; LinkTarget = 'c'; Mode = 'lrwxr-xr-x' }
        $result = [CCImage.ImageRestoreResult]::new('/a.dmg', '/to', 12, 2048, [timespan]::FromSeconds(1.5), [CCImage.Diagnostics.ImagingWarning[]]@())
    }

    It 'show an image in a row with sizes for people' {
        $text = $image | Out-String
        $text | Should -Match 'ReadOnlyZlib\s+10 GB\s+1\.5 KB\s+a\.dmg'
        $text | Should -Match 'Folder:'
    }
    It 'show a deserialised image the same way' { ($image | ConvertTo-Deserialised | Out-String) | Should -Be ($image | Out-String) }
    It 'show bytes to the last one in a list' { $image | Format-List | Out-String | Should -Match ([regex]::Escape(('10 GB ({0:N0} bytes)' -f 10GB))) }
    It 'show an item with its link' { $item | Out-String | Should -Match 'lrwxr-xr-x.*/b -> c' }
    It 'show the result of a restore' { $result | Out-String | Should -Match '12\s+2 KB\s+1\.5 s\s+0\s+/to' }

    It 'show where an image is mounted' {
        $mounted = [CCImage.MountedBackupImage]::new('/somewhere/a.dmg', '/dev/disk4', [string[]]('/Volumes/A', '/Volumes/B'))
        $mounted | Out-String | Should -Match '/dev/disk4\s+/Volumes/A, /Volumes/B\s+/somewhere/a\.dmg'
        ($mounted | ConvertTo-Deserialised | Out-String) | Should -Be ($mounted | Out-String)
    }

    It 'say <Bytes> bytes as <Text>' -ForEach @(
        @{ Bytes = 0; Text = '0 B' }, @{ Bytes = 1023; Text = '1023 B' }, @{ Bytes = 1024; Text = '1 KB' }, @{ Bytes = 1536; Text = '1.5 KB' }
        @{ Bytes = 1048575; Text = '1 MB' }, @{ Bytes = [long]::MaxValue; Text = '8 EB' }, @{ Bytes = $null; Text = '' }
    ) { [CCImage.Internal.FormatView]::Size($Bytes) | Should -Be $Text }
}

Describe 'Completion and names of formats' {
    It 'completes names for New-BackupImage' {
        (TabExpansion2 'New-BackupImage -Format ReadOnly').CompletionMatches.CompletionText | Should -Be 'ReadOnly', 'ReadOnlyZlib', 'ReadOnlyLzfse', 'ReadOnlyLzma', 'ReadOnlyBzip2'
    }
    It 'completes hdiutil''s codes' { (TabExpansion2 'New-BackupImage -Format uds').CompletionMatches.CompletionText | Should -Be 'UDSP', 'UDSB' }
    It 'offers ConvertTo-ReadOnlyImage nothing that can be written to' {
        (TabExpansion2 'ConvertTo-ReadOnlyImage -Format ').CompletionMatches.CompletionText | Should -Not -Contain 'Sparse'
    }
    It 'refuses what is no format, and lists those there are' {
        { New-BackupImage . x.dmg -Format zork } | Should -Throw -ErrorId 'ParameterArgumentTransformationError,*' -ExpectedMessage '*ReadOnlyZlib (UDZO)*'
    }
}
